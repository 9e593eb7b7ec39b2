"""Servers of tests on this machine, among them one with the files of a folder."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from typing import TypeVar

AServer = TypeVar("AServer", bound=BaseServer)


@contextmanager
def running(server: AServer) -> Iterator[AServer]:
    """The server in a thread of its own, which ends with it."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def web(folder: Path) -> Iterator[ThreadingHTTPServer]:
    """The server, which says nothing."""
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with running(ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))) as server:
        yield server
