"""A person at a terminal in the root of the repository: runs one job after the other, beside one Ray.

A process of its own, started there with `python -m tests.docs.reader`. In: lines of JSON with `module`,
`arguments` and `model` (the default checkpoint). Out: for each a line with the exit `code`, and what was
`said`. One Ray for all of them saves its start, and the imports.
"""

import importlib
import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from jobs.run import model_flags
from jobs.run.ray_session import connected


def run(module: str, arguments: list[str], model: str) -> dict[str, Any]:
    """Runs a job as `python -m MODULE ARGUMENTS` does."""
    model_flags.NANO = model  # type: ignore[assignment,misc]  # a flag's default is its text
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            code = importlib.import_module(module).main(arguments)
        except SystemExit as stopped:
            code = stopped.code
    return {"code": code or 0, "said": said.getvalue()}


def main() -> None:
    """Until no more lines come."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what anybody prints past sys.stdout is no reply
    with connected():
        for line in sys.stdin:
            print(json.dumps(run(**json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
