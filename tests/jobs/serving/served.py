"""A server as a person starts it: `python -m jobs.serve` in a process of its own, on a free port."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from jobs.bench.serve import port_of

ROOT = Path(__file__).parents[3]
END_SECONDS = 60
START_SECONDS = 300


@dataclass
class Server:
    """A running one."""

    process: "subprocess.Popen[str]"
    port: int

    @property
    def url(self) -> str:
        """The base address of clients."""
        return f"http://127.0.0.1:{self.port}/v1"

    def send(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> "tuple[int, Mapping[str, str], bytes]":
        """The status, the headers and the body of a reply. A body that is no bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {} if data is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, data, given | dict(headers or {}))
            reply = connection.getresponse()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    def ask(self, body: object, path: str = "/v1/chat/completions") -> Any:
        """The parsed reply to a request that succeeds."""
        status, _, reply = self.send("POST", path, body)
        assert status == 200, reply
        return json.loads(reply)

    def refuse(self, body: object, path: str = "/v1/chat/completions") -> tuple[int, dict[str, Any]]:
        """The status and the error of one that does not."""
        status, headers, reply = self.send("POST", path, body)
        assert headers["content-type"] == "application/json", reply
        return status, error_of(reply)

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        _, _, reply = self.send("GET", "/metrics")
        found = re.search(rf"^{name} (\S+)$", reply.decode(), re.MULTILINE)
        assert found, name
        return float(found[1])

    def engine(self) -> psutil.Process:
        """The process that computes."""
        (found,) = [
            child
            for child in psutil.Process(self.process.pid).children()
            if child.status() != psutil.STATUS_ZOMBIE and "pipeline.infer.engine_main" in child.cmdline()
        ]
        return found


def error_of(reply: bytes) -> dict[str, Any]:
    """The error in a reply, which has OpenAI's form."""
    found = json.loads(reply)
    assert list(found) == ["error"], found
    error: dict[str, Any] = found["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert error["message"], error
    return error


def run_serve(*flags: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit code of a server that ends by itself, and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs.serve", "--port", "0", *flags],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    return done.returncode, done.stderr


@contextmanager
def serving(*flags: str, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server with these flags, which is told to end and must do so in order."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.serve", "--port", "0", *flags],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Server(process, port_of(process))
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=END_SECONDS)
        assert process.returncode == 0, rest
        assert "Traceback" not in rest, rest
        assert "retries remaining" not in rest, rest
    finally:
        process.kill()
        process.communicate()
