"""The ranks of a Replica on one GPU, or on CPUs: a child process that has the engine, for one life.

In: groups. Out: its reports. The child is on the Replica's machine and has its GPU; whatever ends it (an
error that leaves its GPU useless, a signal, a step without end) ends no other process. Pixels go to it
through a socket, and nothing of torch is loaded in the Replica's own process.
"""

import os
import time
from collections.abc import Mapping, Sequence
from threading import Event

from model.engine.request import Group
from model.hub import HubError
from pipeline.child_process import ChildLostError, ChildProcess
from pipeline.infer.engine_loop import Abort
from pipeline.infer.ranks import START_SECONDS, RanksLostError, Report, StepWatch
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.plan.model_place import model_folder

MODULE = "pipeline.infer.engine_main"
LOOK_SECONDS = 0.5  # while it starts: between two looks whether that was called off
SPINS = 1_000
"""Turns in which a thread of OpenMP that waits for another one looks for it before it sleeps. By itself it
looks for milliseconds. Beside other work that other thread has no CPU meanwhile: on two cores with a load of
four, a page of nano took 2 to 8 times as long."""


def engine_environment(given: Mapping[str, str]) -> dict[str, str]:
    """The variables of the child. OpenMP reads them when torch is imported. What a person has set stays."""
    if "OMP_WAIT_POLICY" in given or "GOMP_SPINCOUNT" in given:
        return dict(given)
    return {**given, "GOMP_SPINCOUNT": str(SPINS)}


class EngineProcess:
    """A process that answers with one model. The Supervisor makes it, in the thread that then asks it."""

    def __init__(self, config: ReplicaConfig, closed: Event) -> None:
        """Waits for the model. `closed` calls it off. Raises RanksLostError if it does not start."""
        try:
            model_folder(config.plan.model)  # before its time to start: a download takes as long as it takes
        except HubError as error:
            raise RanksLostError(str(error)) from None
        environment = engine_environment(os.environ)
        self._child = ChildProcess(MODULE, seconds=config.step_seconds, environment=environment)
        self._watch = StepWatch(config.step_seconds)
        deadline = time.monotonic() + START_SECONDS
        try:
            self._child.send(config)
            report = None
            while report is None:
                if closed.is_set() or time.monotonic() > deadline:
                    raise RanksLostError(f"not ready after {START_SECONDS:.0f} s, or called off")
                report = self._receive(LOOK_SECONDS)
        except ChildLostError as lost:
            self.close()
            raise RanksLostError(str(lost)) from None
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Raises RanksLostError if the child has ended."""
        if not self._child.is_alive():
            raise RanksLostError("its process ended while it was asked nothing")

    def submit(self, groups: Sequence[Group]) -> None:
        """Asks it."""
        self._watch.asked()
        self._send(groups)

    def abort(self, ids: Sequence[str]) -> None:
        """Calls branches off."""
        self._send(Abort(ids))

    def _send(self, message: Sequence[Group] | Abort) -> None:
        try:
            self._child.send(message)
        except ChildLostError as lost:
            if self._child.is_alive():
                raise RanksLostError(str(lost)) from None
            # It ended before it read all. Its last reports can still be read, and then `take` says how.

    def take(self, seconds: float) -> Report | None:
        """The child's next report, or None after so many seconds; for as long as something is asked."""
        try:
            report = self._receive(seconds)
        except ChildLostError as lost:
            raise RanksLostError(str(lost)) from None
        if report is not None:
            self._watch.saw(report.steps)
        self._watch.check()
        return report

    def close(self) -> None:
        """Kills the child."""
        self._child.kill()

    def _receive(self, seconds: float) -> Report | None:
        message: Report | RanksLostError | None = self._child.receive(seconds)
        if isinstance(message, RanksLostError):
            raise message
        return message
