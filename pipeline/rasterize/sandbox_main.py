"""The sandboxed process: opens one document at a time and draws its pages, until its worker is gone.

In: messages on a socket. Out: answers, and pixels at the start of a buffer that both processes share.
`supervisor` starts python -m pipeline.rasterize.sandbox_main SOCKET BUFFER PARENT BYTES. It does not judge
time and memory: a process that opens hostile bytes cannot be relied on.
"""

import mmap
import os
import socket
import sys
from io import BufferedReader
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.file_types import DocumentError, OfficeFileError
from pipeline.rasterize.bounds import be_bounded
from pipeline.rasterize.confinement import confine, lacking
from pipeline.rasterize.containers import Container
from pipeline.rasterize.ipc import Closed, Message, receive, send
from pipeline.rasterize.pdf import Opened, open_document, rasterize
from pipeline.rasterize.preload import preload
from pipeline.rasterize.profiles import PARSE
from pipeline.rasterize.replies import MOST_CHARACTERS, OFFICE_FILE


def serve(connection: socket.socket, requests: BufferedReader, buffer: NDArray[np.uint8]) -> None:
    """Answers messages in their order. An unexpected message ends the process: a crash to report."""
    opened: Opened | None = None
    container: Container | None = None  # whose attachments are read one after the other
    content = memoryview(b"")  # an attachment
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
                case "parts":
                    found = Container(data, **message).parts()
                    reply = {"parts": [[part.path, part.kind] for part in found]}
                case "part":
                    path, is_kept = message.pop("path"), message.pop("keep")
                    if data:
                        container = None  # its memory is free before the next one takes more
                        container = Container(data, **message)
                    assert container is not None
                    content = memoryview(container.part(path))
                    container = container if is_kept else None
                    reply = _put(content, 0, buffer)
                case "more":
                    reply = _put(content, message["at"], buffer)
                case "close":
                    assert opened is not None
                    opened.close()
                    continue  # nobody waits for it
        except OfficeFileError as error:
            reply = {"reason": OFFICE_FILE, "message": error.media_type}
        except DocumentError as error:
            reply = {"reason": error.reason, "message": _sentence(error.message)}
        send(connection, reply)


def _put(content: memoryview, start: int, buffer: NDArray[np.uint8]) -> Message:
    """Bytes of an attachment from `start` on are put into the buffer, as many as it holds."""
    some = content[start : start + len(buffer)]
    buffer[: len(some)] = some
    return {"size": len(content)}


def _sentence(text: str) -> str:
    """What a table can hold: bytes of a document that are no UTF-8 came into some of MuPDF's messages."""
    return text.encode(errors="backslashreplace").decode()[:MOST_CHARACTERS]


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
