"""What a process that reads hostile bytes bounds itself to, before it is confined.

In: its worker, and its limits. Out: nothing; it holds for what the process becomes, too.
"""

import ctypes
import os
import resource
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def be_bounded(parent: int, limit: int, *, file_bytes: int = 0) -> None:
    """Dies with its parent, leaves no core and no larger file, and has twice the memory of `limit` at most.

    The worker watches the memory in use and ends the process above `limit`. This is for one that takes it
    faster than that. It is not the limit itself: MuPDF leaves out of a page the parts that it finds no memory
    for.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) or os.getppid() != parent:
        sys.exit("the worker is gone")
    resource.setrlimit(resource.RLIMIT_DATA, (2 * limit, 2 * limit))
    for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, file_bytes)):
        resource.setrlimit(kind, (most, most))
