"""A child that a document has taken over: it does what the document says. Stands in for `sandbox_main`.

The document is a Python program, which finds the connection to the worker as `connection`, the buffer's file
as `buffer_file`, and sends replies with `say`: the JSON of an object, or bytes as they are.
"""

import json
import socket
import struct
import sys
from typing import Any

from pipeline.rasterize.ipc import receive, send


def main() -> None:
    connection, buffer_file = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    requests = connection.makefile("rb")

    def say(reply: Any) -> None:
        text = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        connection.sendall(struct.pack("<IQ", len(text), 0) + text)

    send(connection, {"lacks": None})
    known: dict[str, Any] = {"connection": connection, "buffer_file": buffer_file, "say": say}
    known["request"], document = receive(requests)
    known["hear"] = lambda: receive(requests)[0]
    exec(document, known)


if __name__ == "__main__":
    main()
