"""A child that speaks as `engine_main` does, without a model: each group's id says how it is answered."""

import ctypes
import os
import signal
import threading
import time

from pipeline.child_process import Wire, end_now, join_parent
from pipeline.infer.ranks import RanksLostError, Report
from tests.pipeline.seats import completion


def answer(wire: Wire, way: str) -> None:
    """Does what the id says."""
    match way:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "raise":
            wire.send(RanksLostError("AcceleratorError: CUDA error: an illegal memory access"))
            end_now(1)
        case "hang":
            threading.Event().wait()
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.1)  # the signal may come a moment later


def main() -> None:
    """Answers in order; a page at a time is a step."""
    wire = join_parent()
    wire.receive()
    wire.send(Report(steps=0, completions=[], seconds=0.0))
    steps = 0
    while True:
        for group in wire.receive():
            answer(wire, group.id)
            steps += 1
            done = [completion(branch.id) for branch in group.branches]
            assert [image.sum() for image in group.images] == [0] * len(group.images)
            wire.send(Report(steps=steps, completions=done, seconds=0.1))


if __name__ == "__main__":
    main()
