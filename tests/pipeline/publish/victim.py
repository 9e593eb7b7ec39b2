"""A process that publishes, and at its n-th write is killed, or stops until somebody lets it go on.

In: an output, the properties of a catalog as JSON, a table, the number of the write, and KILL or STOP. Out:
the exit code of a publish; a line `stopped` before it stops.
"""

import json
import os
import signal
import sys
from typing import Any

from pyiceberg.io.pyarrow import PyArrowFile
from sqlalchemy.orm import Session

from jobs.publish import main


class Steps:
    """Counts writes, before and behind each."""

    def __init__(self, at: int, kind: signal.Signals) -> None:
        self._left, self._kind = at, kind

    def around(self, owner: type, name: str) -> None:
        call = getattr(owner, name)

        def step(*given: Any, **named: Any) -> Any:
            self._count()
            result = call(*given, **named)
            self._count()
            return result

        setattr(owner, name, step)

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            print("stopped", flush=True)
            os.kill(os.getpid(), self._kind)


if __name__ == "__main__":
    output, properties, table, number, kind = sys.argv[1:]
    steps = Steps(int(number), signal.Signals[f"SIG{kind}"])
    steps.around(PyArrowFile, "create")
    steps.around(Session, "commit")
    flags = [f"--property={key}={value}" for key, value in json.loads(properties).items()]
    sys.exit(main([output, "--catalog", "lake", "--namespace", "lake", "--table", table, *flags]))
