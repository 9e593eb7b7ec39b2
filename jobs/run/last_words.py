"""The last sentence of a job that Ray ends: said by this process, or if it cannot any more, by another.

Where the raylet on its machine dies, Ray ends a process on the spot and without a word, if it happens to talk
to it at that moment.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Reads a line, or the end of a process that had no time to write one.
_SCRIPT = 'read -r line || echo "$0" >&2'
_heirs: "list[subprocess.Popen[bytes]]" = []  # a test's Ray may last while another one starts


@contextmanager
def heir() -> Iterator[None]:
    """While another process watches this one."""
    lost = "this process was killed, or ended by Ray, whose own on this machine, the raylet, has died"
    # Not in this process's group, of which a terminal asks each to stop.
    watching = subprocess.Popen(
        ["sh", "-c", _SCRIPT, _sentence(lost)], stdin=subprocess.PIPE, start_new_session=True
    )
    _heirs.append(watching)
    try:
        yield
    finally:
        _heirs.remove(watching)
        watching.communicate(b"\n")


def end_lost(lost: str) -> None:
    """Ends the process, whatever it waits for, and says what is gone."""
    for watching in _heirs:
        watching.communicate(b"\n")
    print(_sentence(lost), file=sys.stderr, flush=True)
    os._exit(1)


def _sentence(lost: str) -> str:
    return f"broken off: {lost}; the same command continues"
