"""A judge on 127.0.0.1: it answers chat completions by a function of the test's."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any]], str | int]
"""What is said to a request's body: a text, or the HTTP status of an error."""


class Judge:
    """What was asked, and how."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.keys = set[str | None]()
        self.most_at_once = 0
        self.lock = threading.Lock()
        self.at_once = 0


class _Handler(BaseHTTPRequestHandler):
    judge: Judge

    def do_GET(self) -> None:
        self.judge.keys.add(self.headers["Authorization"])
        self.say(401 if self.headers["Authorization"] == "Bearer wrong" else 404, b"{}")

    def do_POST(self) -> None:
        judge = self.judge
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with judge.lock:
            judge.bodies.append(body)
            judge.keys.add(self.headers["Authorization"])
            judge.at_once += 1
            judge.most_at_once = max(judge.most_at_once, judge.at_once)
        said = judge.reply(body)
        with judge.lock:
            judge.at_once -= 1
        if isinstance(said, int):
            self.say(said, b"{}")
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": said}}
            self.say(200, json.dumps({"choices": [choice]}).encode())

    def say(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """The server says nothing."""


@contextmanager
def judging(reply: Reply) -> Iterator[Judge]:
    """A judge that answers at `url`."""
    judge = Judge(reply)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneJudge", (_Handler,), {"judge": judge}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield judge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
