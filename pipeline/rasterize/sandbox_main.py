"""The sandboxed process: opens one document at a time and draws its pages, until its worker is gone.

In: messages on a socket. Out: answers, and pixels at the start of a buffer that both processes share.
`supervisor` starts python -m pipeline.rasterize.sandbox_main SOCKET BUFFER PARENT BYTES. It does not judge
time and memory: a process that opens hostile bytes cannot be relied on.
"""

import ctypes
import mmap
import os
import resource
import signal
import socket
import sys
from io import BufferedReader
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.rasterize.confinement import confine, lacking
from pipeline.rasterize.ipc import Closed, Message, receive, send
from pipeline.rasterize.pdf import DocumentError, Opened, open_document, rasterize
from pipeline.rasterize.preload import preload
from pipeline.rasterize.profiles import PARSE
from pipeline.rasterize.replies import MOST_CHARACTERS

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def serve(connection: socket.socket, requests: BufferedReader, buffer: NDArray[np.uint8]) -> None:
    """Answers messages in their order. An unexpected message ends the process: a crash to report."""
    opened: Opened | None = None
    while True:
        try:
            message, data = receive(requests)
        except Closed:
            return
        try:
            match message.pop("do"):
                case "open":
                    if opened is not None:
                        opened.close()
                    opened = open_document(data, **message)
                    reply: Message = {"media_type": opened.media_type, "page_count": opened.page_count}
                case "draw":
                    assert opened is not None
                    pixels, note, damaged = rasterize(opened, **message, buffer=buffer)
                    reply = {"height": pixels.shape[0], "width": pixels.shape[1]}
                    reply |= {"note": note and _sentence(note), "damaged": damaged}
                case "close":
                    assert opened is not None
                    opened.close()
                    continue  # nobody waits for it
        except DocumentError as error:
            reply = {"reason": error.reason, "message": _sentence(error.message)}
        send(connection, reply)


def _sentence(text: str) -> str:
    """What a table can hold: bytes of a document that are no UTF-8 came into some of MuPDF's messages."""
    return text.encode(errors="backslashreplace").decode()[:MOST_CHARACTERS]


def be_bounded(parent: int, limit: int) -> None:
    """Dies with its parent, leaves no core and no file, and has twice the memory of `limit` at the very most.

    The worker watches the memory in use and ends the process above `limit`. This is for one that takes it
    faster than that. It is not the limit itself: MuPDF leaves out of a page the parts that it finds no memory
    for.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) or os.getppid() != parent:
        sys.exit("the worker is gone")
    resource.setrlimit(resource.RLIMIT_DATA, (2 * limit, 2 * limit))
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))


def main(socket_file: int, buffer_file: int, parent: int, limit: int) -> None:
    """Does what needs files first, then gives them up, and only then says that it is ready."""
    be_bounded(parent, limit)
    preload()
    connection = socket.socket(fileno=socket_file)
    requests = connection.makefile("rb")
    buffer = np.frombuffer(mmap.mmap(buffer_file, 0), np.uint8)
    sys.excepthook = say_briefly
    lacks = lacking()
    confine(PARSE)
    send(connection, {"lacks": lacks})
    serve(connection, requests, buffer)
    os._exit(0)  # Python's own way out opens files


def say_briefly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ends the process with the error alone: Python would read the sources that a stack names."""
    print(f"{kind.__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
