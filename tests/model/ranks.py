"""Processes that form a World, and do what a test tells them; the `ranks` of `conftest` serve many tests.

On a CPU they are forked from a server that has imported torch and DeepSpeed once. Where each process imported
them for itself, a world of four took 16 seconds of CPU to start, and its ranks came seconds apart: later than
a test's short time-out for a collective allows.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any

import torch

from model.collectives.world import World, free_address, join

_PATIENCE = 500.0  # seconds of whatever a test asks for
_IMPORTED_ONCE = ["tests.model.imported_once"]


class Ranks:
    """A world on CPU or CUDA devices, with a pipe to each rank; `timeout` in seconds for a collective."""

    def __init__(self, size: int, timeout: float = 60.0, kind: str = "cpu") -> None:
        multiprocessing.set_forkserver_preload(_IMPORTED_ONCE)
        # CUDA wants processes that nothing was forked into.
        context: SpawnContext | ForkServerContext
        context = SpawnContext() if kind == "cuda" else ForkServerContext()
        address = free_address()
        self.processes = []
        self._pipes: list[Connection] = []
        for rank in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(rank, size, address, timeout, kind, theirs), daemon=True
            )
            process.start()
            theirs.close()
            self.processes.append(process)
            self._pipes.append(ours)

    def __call__(self, task: Callable[..., Any], *args: Any) -> list[Any]:
        """What `task(world, *args)` returns on each rank."""
        self.start(task, *args)
        return [self.outcome(rank) for rank in range(len(self._pipes))]

    def start(self, task: Callable[..., Any], *args: Any) -> None:
        for pipe in self._pipes:
            pipe.send((task, args))

    def outcome(self, rank: int) -> Any:
        """What the task that was started last returns on this rank."""
        result, error = self._said(rank)
        assert error is None, f"rank {rank}: {error}"
        return result

    def error(self, rank: int) -> str:
        """The traceback that the task ends with on this rank, and that rank with it."""
        _, error = self._said(rank)
        assert error is not None, f"rank {rank} came to an end"
        return error

    def _said(self, rank: int) -> tuple[Any, str | None]:
        assert self._pipes[rank].poll(_PATIENCE), f"rank {rank} says nothing"
        said: tuple[Any, str | None] = self._pipes[rank].recv()
        return said

    def signal(self, rank: int, number: signal.Signals) -> None:
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join(10)
            assert process.exitcode is not None, "a rank is left"


def _serve(rank: int, size: int, address: str, timeout: float, kind: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    device = torch.device("cuda", rank) if kind == "cuda" else torch.device("cpu")
    world: World = join(rank, size, address, device, timeout)
    while True:
        try:
            task, args = pipe.recv()
        except EOFError:  # the test has gone
            return
        try:
            pipe.send((task(world, *args), None))
        except Exception:  # ends the process, as whoever runs ranks must see to: the others notice that
            pipe.send((None, traceback.format_exc()))
            os._exit(1)
