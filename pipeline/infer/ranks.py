"""What a Supervisor knows of the ranks of its Replica, however many they are and wherever they run.

In: groups. Out: reports. Ranks are processes that compute with one copy of the model: a child process
(`engine_process`) has the whole of it, or several Ray actors (`tp_group`) share it. A rank survives no error
of its engine; it reports the error, and the supervisor ends the ranks and starts others.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Condition
from typing import Protocol

from model.engine.request import Completion, Group, Progress

START_SECONDS = 1800.0  # 124 B parameters from a slow disk; a rank that dies meanwhile is noticed at once
HEARTBEAT_SECONDS = 1.0  # after which the rank with the engine reports though nothing is finished


class RanksLostError(Exception):
    """The ranks are no longer of use; the message says why.

    The class's name becomes the reason `ranks_lost_error` in failures.
    """


class EngineBrokenError(RuntimeError):
    """A Replica cannot start its ranks, or has started them in vain too often: the run ends. One sentence."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The work of a rank since its last report."""

    steps: int
    """Steps since it began; while anything is asked, they must not stand still."""
    completions: list[Completion]
    seconds: float
    """In which the engine worked."""
    progress: list[Progress] = field(default_factory=list)
    """What was written of answers that stream."""


class Ranks(Protocol):
    """Processes that answer with one copy of the model, for one life."""

    def check(self) -> None:
        """Raises RanksLostError if a rank has ended, or hangs."""

    def submit(self, groups: Sequence[Group]) -> None:
        """Asks them."""

    def abort(self, ids: Sequence[str]) -> None:
        """Calls branches off. Their completions may come all the same."""

    def take(self, seconds: float) -> Report | None:
        """The next report, or None after so many seconds; for as long as something is asked.

        Raises RanksLostError if a rank has ended, has an error, or does not finish a step.
        """

    def close(self) -> None:
        """Ends the processes, also those that hang; afterwards their memory is free."""


class StepWatch:
    """Notices that steps stand still while something is asked."""

    def __init__(self, step_seconds: float) -> None:
        self._step_seconds = step_seconds
        self._steps = 0
        self._moved = time.monotonic()

    def asked(self) -> None:
        """More is to do, perhaps after a time in which there was nothing."""
        self._moved = time.monotonic()

    def saw(self, steps: int) -> None:
        """A report said so."""
        if steps > self._steps:
            self._steps, self._moved = steps, time.monotonic()

    def check(self) -> None:
        """Raises RanksLostError."""
        stands = time.monotonic() - self._moved
        if stands > self._step_seconds:
            raise RanksLostError(f"no step in {stands:.0f} s: a rank hangs")


class Outbox:
    """The news of a rank's engine: an `EngineLoop` puts them in, and another thread takes them as reports."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._steps = 0
        self._completions: list[Completion] = []
        self._progress: list[Progress] = []
        self._seconds = 0.0
        self._error: BaseException | None = None

    def deliver(self, completions: list[Completion], seconds: float, progress: list[Progress]) -> None:
        """A step is done."""
        with self._changed:
            self._steps += 1
            self._completions += completions
            self._progress += progress
            self._seconds += seconds
            if completions or progress:
                self._changed.notify()

    def break_off(self, error: BaseException) -> None:
        """The rank has broken."""
        with self._changed:
            self._error = error
            self._changed.notify()

    def take(self) -> Report:
        """The news, once there are any; none after a heartbeat. Raises the error that ended the rank."""
        with self._changed:
            self._changed.wait_for(self._has_news, timeout=HEARTBEAT_SECONDS)
            if self._error is not None and not self._completions:
                raise self._error
            report = Report(
                steps=self._steps,
                completions=self._completions,
                seconds=self._seconds,
                progress=self._progress,
            )
            self._completions, self._progress, self._seconds = [], [], 0.0
        return report

    def _has_news(self) -> bool:
        return bool(self._completions or self._progress or self._error is not None)
