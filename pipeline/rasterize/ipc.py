"""The messages between a worker and its sandboxed child: JSON, and behind it the bytes of a document.

There are no pickles: a hostile document may have taken the child over, and the worker reads nothing but text
from it.
"""

import json
import socket
import struct
from io import BufferedReader
from typing import Any, Final

_HEADER: Final = struct.Struct("<IQ")  # bytes of JSON, bytes of the document

Message = dict[str, Any]


class Closed(Exception):
    """The other side is gone."""


def send(connection: socket.socket, message: Message, document: bytes = b"") -> None:
    """Sends all of it. Raises Closed, and TimeoutError where the connection has a time-out."""
    text = json.dumps(message).encode()
    try:
        connection.sendall(_HEADER.pack(len(text), len(document)) + text)
        if document:
            connection.sendall(document)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Closed from error


def receive(stream: BufferedReader) -> tuple[Message, bytes]:
    """The next message and its document, empty if there is none, from `makefile("rb")` of a connection.

    Raises as `send` does.
    """
    text_size, document_size = _HEADER.unpack(_read(stream, _HEADER.size))
    message: Message = json.loads(_read(stream, text_size))
    return message, _read(stream, document_size)


def _read(stream: BufferedReader, size: int) -> bytes:
    try:
        data = stream.read(size)
    except ConnectionResetError as error:
        raise Closed from error
    if len(data) < size:
        raise Closed
    return data
