"""The messages between a worker and its sandboxed child: JSON, and behind it the bytes of a document.

There are no pickles: a hostile document may have taken the child over, and the worker reads nothing but text
from it, of a bounded length. What the text says is checked in `replies`.
"""

import json
import socket
import struct
from io import BufferedReader
from typing import Any, Final

MOST_TEXT: Final = 2**16  # bytes of a reply's JSON: the child cuts the sentences in it far below
TOGETHER: Final = 2**16  # bytes of a document that are copied to its message
_HEADER: Final = struct.Struct("<IQ")  # bytes of JSON, bytes of the document

Message = dict[str, Any]


class Closed(Exception):
    """The other side is gone."""


class Malformed(Exception):
    """What the child sent is no reply. The text says why, and quotes nothing of it."""


def send(connection: socket.socket, message: Message, document: bytes = b"") -> None:
    """Sends all of it. Raises Closed, and TimeoutError where the connection has a time-out."""
    text = json.dumps(message).encode()
    head = _HEADER.pack(len(text), len(document)) + text
    try:
        if len(document) <= TOGETHER:  # each call may wake the other side
            connection.sendall(head + document)
        else:
            connection.sendall(head)
            connection.sendall(document)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Closed from error


def receive(stream: BufferedReader) -> tuple[Message, bytes]:
    """The worker's next message and its document, empty if there is none, in the child. Raises Closed."""
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


class Reply:
    """A child's reply as it comes, in the worker: one message without a document, and nothing behind it."""

    def __init__(self) -> None:
        self._data = bytearray()

    def take(self, connection: socket.socket) -> Message | None:
        """Reads what is there; the message, once it is whole. Raises Closed, Malformed."""
        most = _HEADER.size + MOST_TEXT
        try:
            some = connection.recv(most + 1 - len(self._data), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except ConnectionResetError as error:
            raise Closed from error
        if not some:
            raise Closed
        self._data += some
        if len(self._data) < _HEADER.size:
            return None
        text_size, document_size = _HEADER.unpack_from(self._data)
        if text_size > MOST_TEXT or document_size:
            raise Malformed(f"of {text_size} bytes and {document_size} behind them")
        if len(self._data) < _HEADER.size + text_size:
            return None
        if len(self._data) > _HEADER.size + text_size:
            raise Malformed("with more behind it")
        try:
            message = json.loads(self._data[_HEADER.size :])
        except (ValueError, RecursionError) as error:
            raise Malformed("that is no JSON") from error
        if not isinstance(message, dict):
            raise Malformed("that is no object of JSON")
        return message
