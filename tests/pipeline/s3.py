"""moto as an S3 server, and in front of it a proxy that makes faults on demand.

The proxy is a process of its own: deltalake waits for its replies without giving Python's lock away.

python -m tests.pipeline.s3 PORT UPSTREAM_PORT
"""

import http.client
import http.server
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote

import boto3
import botocore.exceptions

# What a request meets instead of its answer: a status, or what happens to the body.
RESET, SLOW = "reset", "slow"  # the connection ends in mid-body; some time passes before it
SLOW_SECONDS = 0.3
START_SECONDS = 120  # a few on an idle machine
CODES = {403: "InvalidAccessKeyId", 500: "InternalError", 503: "SlowDown"}
SECRET = "hunter2-of-aws"
CONTROL = "/-fault"  # a path that is not forwarded


@dataclass(frozen=True)
class Server:
    """A running S3, reached through the proxy."""

    port: int
    bucket: str = "quire"

    @property
    def settings(self) -> dict[str, str]:
        """What `AWS_*` must say for this server."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
        }

    @cached_property
    def client(self) -> Any:
        """A client of its own, whatever `AWS_*` say."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id="key",
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def put(self, key: str, data: bytes) -> str:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)
        return f"s3://{self.bucket}/{key}"

    def fail(self, fault: int | str, times: int, method: str, part: str) -> None:
        """The next requests of this method ("": any) whose path has this part meet the fault."""
        self._control("PUT", {"fault": fault, "times": times, "method": method, "part": part})

    def struck(self) -> int:
        """How many requests have met the last fault; ends it."""
        return int(self._control("DELETE", None)["struck"])

    def _control(self, method: str, body: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, CONTROL, json.dumps(body))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer


@contextmanager
def serve() -> Iterator[Server]:
    """A server, with an empty bucket, for as long as the context lasts."""
    while True:
        server, programs = _start()
        try:
            if not _create_bucket(server, programs):
                continue  # somebody else has taken one of its ports meanwhile
            yield server
            return
        finally:
            for program in programs:
                program.kill()
                program.wait()


def _start() -> "tuple[Server, list[subprocess.Popen[bytes]]]":
    ports = [str(port) for port in _free_ports()]
    programs = [["moto.server", "-p", ports[1]], ["tests.pipeline.s3", *ports]]
    return Server(port=int(ports[0])), [
        subprocess.Popen(
            [sys.executable, "-m", *program],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for program in programs
    ]


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def _create_bucket(server: Server, programs: "list[subprocess.Popen[bytes]]") -> bool:
    """Once both programs answer; False if one of them has ended."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.client.create_bucket(Bucket=server.bucket)
            return True
        except (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError):
            if any(program.poll() is not None for program in programs):
                return False
            assert time.monotonic() < deadline, "the S3 server did not start"
            time.sleep(0.2)


class Proxy(http.server.BaseHTTPRequestHandler):
    """Forwards requests, or lets them fail."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body follows its headers at once, not when they are acknowledged
    upstream = 0  # port
    lock = Lock()
    order: dict[str, Any] | None = None
    struck = 0

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        body = self._body()
        if self.path == CONTROL:
            self._take_order(json.loads(body))
            return
        fault = self._fault()
        if isinstance(fault, int):
            text = f"<Error><Code>{CODES[fault]}</Code><Message>{CODES[fault]}</Message></Error>"
            self._answer(fault, [], text.encode())
            return
        status, headers, data = self._reply(body)
        if fault == SLOW:
            time.sleep(SLOW_SECONDS)
        self._answer(status, headers, data, cut=fault == RESET)

    def _reply(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "expect", "connection"):
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        reply = connection.getresponse()
        data = reply.read()
        connection.close()
        return reply.status, reply.getheaders(), data

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _take_order(self, order: dict[str, Any] | None) -> None:
        with self.lock:
            answer = {"struck": Proxy.struck}
            Proxy.order, Proxy.struck = order, 0
        self._answer(200, [], json.dumps(answer).encode())

    def _fault(self) -> int | str | None:
        with self.lock:
            order = self.order
            if order is None or Proxy.struck >= order["times"]:
                return None
            if order["method"] not in ("", self.command) or order["part"] not in unquote(self.path):
                return None
            Proxy.struck += 1
            found: int | str = order["fault"]
            return found

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        head = self.command == "HEAD"
        self.send_header(
            "Content-Length", (dict(headers).get("Content-Length") if head else None) or str(len(data))
        )
        self.end_headers()
        self.wfile.write(b"" if head else data[: len(data) // 2] if cut else data)
        if cut:
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # as http.server calls them


if __name__ == "__main__":
    Proxy.upstream = int(sys.argv[2])
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Proxy).serve_forever()
