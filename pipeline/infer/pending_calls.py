"""The calls of a Replica that wait side by side: prompt groups in, their completions out, call by call.

Ray Data gives a Replica several batches at a time, each in a thread of its own. One worker answers all of
them: the supervisor of an engine in another process. So the last answers of one batch are written while the
next batch is read. `PendingCalls` knows which completion belongs to which call, and nothing of how the worker
makes it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Protocol

from model.engine.request import Completion, Group, Progress
from pipeline.infer.ranks import EngineBrokenError


class Worker(Protocol):
    """Answers groups: later, from another thread, it delivers their completions to `PendingCalls`."""

    def submit(self, groups: Sequence[Group]) -> None: ...

    def close(self) -> None:
        """Ends the worker's thread, and the processes that it started."""


@dataclass(eq=False)
class _Call:
    missing: set[str]
    completions: dict[str, Completion] = field(default_factory=dict)
    done: Event = field(default_factory=Event)


class PendingCalls:
    """The calls that wait, and the branches that each of them waits for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: dict[str, _Call] = {}  # by branch
        self._busy = self._idle = 0.0  # seconds that no call has reported yet
        self._emptied: float | None = None  # when the last of all calls had its answers
        self._error: BaseException | None = None

    def ask(self, groups: Sequence[Group], worker: Worker) -> tuple[dict[str, Completion], float, float]:
        """The completions by branch id, which is unique among all calls; the busy and the idle seconds.

        The worker was busy, or had nothing to do, for so many seconds since the last call that returned. Over
        all calls the seconds add up; the time before the first call is neither. Raises EngineBrokenError when
        the worker has broken.
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

    def deliver(
        self, completions: Sequence[Completion], seconds: float, progress: Sequence[Progress]
    ) -> None:
        """The worker has finished these, after so many more seconds of work. No call reads any before."""
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

    def fail(self, error: BaseException) -> None:
        """The worker has broken: all calls that wait, or will come, raise."""
        with self._lock:
            self._error = error
            for call in self._calls.values():
                call.done.set()

    def _check(self) -> None:
        if self._error is not None:
            what = f"{type(self._error).__name__}: {self._error}"
            raise EngineBrokenError(f"the engine broke: {what}") from self._error
