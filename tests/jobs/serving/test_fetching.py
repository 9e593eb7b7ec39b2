"""Images from the web: within limits, and never from where only the server can reach."""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs.serving.errors import ApiError
from jobs.serving.fetching import Fetching, fetch, is_public

HOST = "images.test"
HERE = Fetching(allowed=True, private_hosts=frozenset({HOST}), most_bytes=1000, seconds=1.0)


class Handler(BaseHTTPRequestHandler):
    """Replies as the path says."""

    def do_GET(self) -> None:
        _, kind, rest = self.path.split("/", 2)
        match kind:
            case "size":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"x" * int(rest))
            case "to":
                self.send_response(302)
                self.send_header("Location", rest)
                self.end_headers()
            case "round":
                self.send_response(302)
                self.send_header("Location", "/round/" + rest)
                self.end_headers()
            case "cut":
                self.send_response(200)
                self.send_header("Content-Length", "9")
                self.end_headers()
                self.wfile.write(b"x")
            case "slow":
                self.send_response(200)
                self.end_headers()
                with suppress(OSError):
                    for _ in range(40):
                        self.wfile.write(b"x")
                        self.wfile.flush()
                        time.sleep(0.1)
            case _:
                self.send_response(404)
                self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@contextmanager
def names(monkeypatch: pytest.MonkeyPatch, found: Callable[[str], list[str]]) -> Iterator[list[str]]:
    """A resolver that answers as told; what it was asked."""
    asked = []

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found(host)]

    with monkeypatch.context() as patched:
        patched.setattr("jobs.serving.fetching.socket.getaddrinfo", resolve)
        yield asked


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    with names(monkeypatch, lambda host: ["127.0.0.1"]) as asked:
        yield asked


def test_an_image_is_fetched_after_one_resolution(port: int, here: list[str]) -> None:
    assert fetch(f"http://{HOST}:{port}/size/9", HERE) == b"x" * 9
    assert here == [HOST]
    assert fetch(f"http://{HOST.upper()}:{port}/to//size/8", HERE) == b"x" * 8


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/size/1001", "it has more than 1,000 bytes"),
        ("/slow/", "it took more than 1 s"),
        ("/cut/", "ended before the image"),
        ("/round/", "more than 5 redirects"),
        ("/gone/", "status 404"),
        ("/to/file:///etc/passwd", "not of the form"),
        ("/to/http://127.0.0.1/x", "private address"),
        ("/to/http://other.test/x", "private address"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_cannot_be_fetched_says_why(port: int, path: str, message: str) -> None:
    with pytest.raises(ApiError, match=message) as raised:
        fetch(f"http://{HOST}:{port}{path}", HERE)
    assert raised.value.status == 400


@pytest.mark.parametrize(
    "url", ["http://", "http://u:p@images.test/", "ftp://images.test/", "http://[::1", "http://a\u200d.test/"]
)
@pytest.mark.usefixtures("here")
def test_addresses_of_other_forms(url: str) -> None:
    with pytest.raises(ApiError, match="cannot be fetched"):
        fetch(url, HERE)


def test_nothing_is_fetched_unless_that_is_allowed() -> None:
    with pytest.raises(ApiError, match="--allow-http"):
        fetch("http://images.test/", Fetching())


def test_a_name_that_resolves_to_a_private_address_is_refused(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it resolves to another one when it is asked again: it is asked once."""
    answers = iter([["10.0.0.1"], ["93.184.216.34"]])
    with names(monkeypatch, lambda host: next(answers)) as asked:
        with pytest.raises(ApiError, match="private address"):
            fetch(f"http://rebinding.test:{port}/size/9", HERE)
        assert asked == ["rebinding.test"]


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 0.0.0.0 100.64.0.1 224.0.0.1 240.0.0.1 "
    "::1 :: fe80::1 fc00::1 ff02::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: "
    "2001:0:4136:e378:8000:63bf:3fff:fdd2".split(),
)
def test_a_private_address_is_none_of_the_internets(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34"])
def test_a_public_address(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
