"""The address of a server: host and port in; a socket that is bound to it, and its name for people, out."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def bound(host: str, port: int, *, shared: bool = False) -> Iterator[socket.socket]:
    """A socket that nobody can connect to yet. Raises ValueError.

    With `shared`, other processes of this user may listen there while it is held, if they say that they share
    it (SO_REUSEPORT). It is said only once the socket is bound: where anybody listens already, that fails.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise ValueError(f"--host {host}: {error.strerror or error}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise ValueError(
                f"--host {host} --port {port} cannot be listened on: {error.strerror}"
            ) from error
        # By that it was bound where connections of a server before have not gone yet. While it lasts, another
        # process may bind it as well, and the first to listen has it: a model takes minutes to load.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield listener


def base_url(host: str, port: int) -> str:
    """The base address of clients."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
