"""A question that ends the process which is asked it: the hook of `faults.HeldConfig` in such a test."""

import os
import signal

from model.engine.engine import BatchEngine
from model.engine.request import Group

DEADLY = "Does it end? " * 30


def install() -> None:
    """Every engine of this process is deadly."""
    submit = BatchEngine.submit

    def submit_or_die(self: BatchEngine, group: Group) -> list[str]:
        if any(len(branch.ids) > 50 for branch in group.branches):
            os.kill(os.getpid(), signal.SIGKILL)
        return submit(self, group)

    BatchEngine.submit = submit_or_die  # type: ignore[method-assign]  # no other way into a worker
