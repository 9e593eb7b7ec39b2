"""Where the calls of a Replica wait side by side: prompt groups in, their completions out, call by call.

Ray Data gives a Replica several batches at a time, each in a thread of its own. One worker answers all of
them (an engine in a thread, or a group of ranks), so that the last answers of one batch are written while the
next ones are read. The desk knows which answer belongs to which call, and nothing of how it comes about.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Protocol

from model.requests import Completion, Group


class Worker(Protocol):
    """What answers groups: later, in another thread, it hands completions to the desk."""

    def submit(self, groups: Sequence[Group]) -> None: ...

    def close(self) -> None:
        """Ends the worker's thread, and whatever it keeps."""


@dataclass(eq=False)
class _Call:
    missing: set[str]
    completions: dict[str, Completion] = field(default_factory=dict)
    done: Event = field(default_factory=Event)


class Desk:
    """The calls that wait, and what they wait for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: dict[str, _Call] = {}  # by branch
        self._seconds = 0.0
        self._error: Exception | None = None

    def ask(self, groups: Sequence[Group], worker: Worker) -> tuple[dict[str, Completion], float]:
        """The completions by branch id, which is unique among all calls; and the seconds that this took.

        The seconds are those in which the worker worked since another call left with its answers: over all
        calls they add up to the time that it was busy. Raises RuntimeError when the worker has broken.
        """
        call = _Call({branch.id for group in groups for branch in group.branches})
        with self._lock:
            self._check()
            assert self._calls.keys().isdisjoint(call.missing), sorted(call.missing)[:3]
            self._calls |= dict.fromkeys(call.missing, call)
        worker.submit(groups)
        call.done.wait()
        with self._lock:
            self._check()
            seconds, self._seconds = self._seconds, 0.0
        return call.completions, seconds

    def deliver(self, completions: Sequence[Completion], seconds: float) -> None:
        """What the worker has finished, after so many more seconds of work."""
        with self._lock:
            self._seconds += seconds
            for completion in completions:
                call = self._calls.pop(completion.id)
                call.missing.remove(completion.id)
                call.completions[completion.id] = completion
                if not call.missing:
                    call.done.set()

    def fail(self, error: Exception) -> None:
        """The worker has broken: all calls that wait, or will come, raise."""
        with self._lock:
            self._error = error
            for call in self._calls.values():
                call.done.set()

    def _check(self) -> None:
        if self._error is not None:
            what = f"{type(self._error).__name__}: {self._error}"
            raise RuntimeError(f"the engine broke: {what}") from self._error
