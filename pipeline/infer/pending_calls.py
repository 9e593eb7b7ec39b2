"""Where the calls of a Replica wait side by side: prompt groups in, their completions out, call by call.

Ray Data gives a Replica several batches at a time, each in a thread of its own. One worker answers all of
them (an engine in a thread, or a group of ranks), so that the last answers of one batch are written while the
next ones are read. This file knows which answer belongs to which call, and nothing of how it comes about.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Protocol

from model.engine.request import Completion, Group


class Worker(Protocol):
    """What answers groups: later, in another thread, it hands completions to `PendingCalls`."""

    def submit(self, groups: Sequence[Group]) -> None: ...

    def close(self) -> None:
        """Ends the worker's thread, and whatever it keeps."""


@dataclass(eq=False)
class _Call:
    missing: set[str]
    completions: dict[str, Completion] = field(default_factory=dict)
    done: Event = field(default_factory=Event)


class PendingCalls:
    """The calls that wait, and what they wait for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: dict[str, _Call] = {}  # by branch
        self._busy = self._idle = 0.0  # seconds that no call has been told yet
        self._emptied: float | None = None  # when the last call that waited had its answers
        self._error: Exception | None = None

    def ask(self, groups: Sequence[Group], worker: Worker) -> tuple[dict[str, Completion], float, float]:
        """The completions by branch id, which is unique among all calls; the busy and the idle seconds.

        The seconds are those in which the worker worked, and had nothing to do, since another call left with
        its answers: over all calls they add up. The time before the first call is neither. Raises
        RuntimeError when the worker has broken.
        """
        call = _Call({branch.id for group in groups for branch in group.branches})
        with self._lock:
            self._check()
            assert self._calls.keys().isdisjoint(call.missing), sorted(call.missing)[:3]
            if not self._calls and self._emptied is not None:
                self._idle += time.perf_counter() - self._emptied
            self._calls |= dict.fromkeys(call.missing, call)
        worker.submit(groups)
        call.done.wait()
        with self._lock:
            self._check()
            busy, idle, self._busy, self._idle = self._busy, self._idle, 0.0, 0.0
        return call.completions, busy, idle

    def deliver(self, completions: Sequence[Completion], seconds: float) -> None:
        """What the worker has finished, after so many more seconds of work."""
        with self._lock:
            self._busy += seconds
            for completion in completions:
                call = self._calls.pop(completion.id)
                call.missing.remove(completion.id)
                call.completions[completion.id] = completion
                if not call.missing:
                    call.done.set()
            if completions and not self._calls:
                self._emptied = time.perf_counter()

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
