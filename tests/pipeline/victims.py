"""A command and what came of it: its processes, which are watched, and those of them that are killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event, Thread

import psutil

ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 0.05
END_SECONDS = 90  # what Ray takes to end what it started, where its head is gone
JOB_SECONDS = 900  # a machine may be busy
Find = Callable[[psutil.Process], bool]


def is_called(*names: str) -> Find:
    """Finds processes by the start of what they call themselves."""
    return lambda process: process.name() in names or process.cmdline()[0].startswith(names)


def is_sandbox(process: psutil.Process) -> bool:
    """Finds the children that open documents."""
    return "pipeline.rasterize.sandbox_main" in process.cmdline()[:3]


def is_engine(process: psutil.Process) -> bool:
    """Finds the children that answer, also while they load the model."""
    return "pipeline.infer.engine_main" in process.cmdline()[:3]


@dataclass
class Ended:
    """What a command came to."""

    code: int
    said: str
    killed: int
    left: list[str] = field(default_factory=list)  # processes
    seconds: float = 0.0  # from the last death to its end


def run(
    command: Sequence[str],
    environment: dict[str, str],
    victim: Find | None = None,
    delays: Sequence[float] = (),
    chance: Random | None = None,
    after: Callable[[], None] | None = None,
) -> Ended:
    """Runs it, and kills a victim again and again: each delay counts from the last death.

    A victim is one of its processes; where `after` is called after a death, one of this process's cluster.
    """
    job = subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    watch = _Watch(job.pid, victim, delays, chance or Random(0), after)
    watch.start()
    try:
        _, said = job.communicate(timeout=JOB_SECONDS)
    finally:
        job.kill()
        watch.ended.set()
        watch.join()
    seconds = time.monotonic() - watch.struck
    return Ended(job.returncode, said, watch.killed, left_of(watch.seen), seconds)


def left_of(seen: set[psutil.Process]) -> list[str]:
    """Those that still live after the time that Ray takes."""
    for _ in range(END_SECONDS * 10):
        seen = {process for process in seen if _lives(process)}
        if not seen:
            return []
        time.sleep(0.1)
    return [process.name() for process in seen if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        # A process that has another's number now is not the one that was seen.
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class _Watch(Thread):
    def __init__(
        self,
        pid: int,
        victim: Find | None,
        delays: Sequence[float],
        chance: Random,
        after: Callable[[], None] | None,
    ) -> None:
        super().__init__(daemon=True)
        self.ended = Event()
        self.seen: set[psutil.Process] = set()
        self.killed = 0
        self.struck = time.monotonic()
        self._job = psutil.Process(pid)
        self._victim = victim
        self._delays = list(delays)
        self._chance = chance
        self._after = after

    def run(self) -> None:
        while not self.ended.wait(LOOK_SECONDS):
            try:
                found = [self._job, *self._job.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self.seen.update(found)
            if self._after:
                found = psutil.Process().children(recursive=True)
                self.seen.update(one for one in found if self._works(one))
            due = self._delays and time.monotonic() - self.struck >= self._delays[0]
            if due and self._victim and (mine := [one for one in found if self._is_victim(one)]):
                self._strike(self._chance.choice(mine))

    def _works(self, process: psutil.Process) -> bool:
        """Whether it is there for the job, in a cluster that goes on."""
        try:
            ours = is_sandbox(process) or is_engine(process)
            return ours or process.name().startswith("ray::Map")
        except psutil.NoSuchProcess:
            return False

    def _is_victim(self, process: psutil.Process) -> bool:
        assert self._victim is not None
        try:
            return bool(process.cmdline()) and self._victim(process)
        except psutil.NoSuchProcess:
            return False

    def _strike(self, process: psutil.Process) -> None:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.killed += 1
        self._delays.pop(0)
        self.struck = time.monotonic()
        if self._after:
            self._after()
