"""What may be fetched from the web, from whom, and how much of it; against servers on this machine."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.ingest import fetching
from pipeline.ingest.fetching import Ending, FetchError, WebRules, fetch, is_public, is_web
from tests.tls import certify

HERE = WebRules(private_hosts=frozenset({"127.0.0.1", "localhost", "::1"}), max_bytes=10_000, seconds=20)


class Site(BaseHTTPRequestHandler):
    """A web server of all kinds of pages."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path, _, query = self.path.partition("?")
        if path == "/to":
            self.send_response(302)
            self.send_header("Location", query)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/slow":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            for _ in range(100):
                time.sleep(0.1)
                self.wfile.write(b"x")
        elif path == "/trickle":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                time.sleep(0.1)
                self.wfile.write(b"x")
        elif path == "/endless":
            self.send_response(200)
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b"x" * 1000)
        elif path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"x" * 50)
        elif path == "/large":
            self.send_response(200)
            self.send_header("Content-Length", "10001")
            self.end_headers()
        elif path == "/gone":
            self.send_error(404, "a secret of the host's")
        else:
            body = self.path.encode() + b"|" + (self.headers["Host"] or "").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def handle(self) -> None:
        with suppress(OSError):  # the client has hung up
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """The server says nothing."""


@pytest.fixture
def site() -> Iterator[Any]:
    """A server whose `asked` are the paths so far."""
    handler = type("OneSite", (Site,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.asked = handler.asked  # type: ignore[attr-defined]  # for the tests
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def named(monkeypatch: pytest.MonkeyPatch, answers: Callable[[str], list[str]]) -> None:
    """A name server that answers so."""

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in answers(host)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_an_allowed_host_is_asked_with_its_name(site: Any) -> None:
    url = f"http://localhost:{site.server_port}"
    assert fetch(f"{url}/a%20b/ü?q=1&r=ß#part", HERE) == (
        f"/a%20b/%C3%BC?q=1&r=%C3%9F|localhost:{site.server_port}".encode()
    )
    assert fetch(url.replace("http", "HTTP"), HERE).startswith(b"/|")
    assert [is_web(one) for one in ("HTTPS://a", "file:///a", "httpx://a")] == [True, False, False]


@pytest.mark.parametrize("path", ["gone", "large", "to?/to"])
def test_what_failed_leaves_no_connection_open(site: Any, path: str) -> None:
    """The error's stack held the reply, and the reply the socket, until the next collection."""
    with pytest.raises(FetchError) as held:
        fetch(f"http://127.0.0.1:{site.server_port}/{path}", HERE)
    ours = [
        one for one in psutil.Process().net_connections() if one.raddr and one.raddr[1] == site.server_port
    ]
    assert [one for one in ours if one.fd != -1] == []
    assert held.value is not None


def test_nothing_is_asked_without_leave(site: Any) -> None:
    url = f"http://127.0.0.1:{site.server_port}/"
    with pytest.raises(FetchError, match="is not fetched: --allow-http allows it"):
        fetch(url, None)
    with pytest.raises(FetchError, match=r"private network; --allow-host 127\.0\.0\.1 allows it"):
        fetch(url, WebRules())
    assert not site.asked


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "localhost", "0"])
def test_another_way_to_write_this_machine_is_no_way_round(site: Any, host: str) -> None:
    with pytest.raises(FetchError, match=r"private network|no host"):
        fetch(f"http://{host}:{site.server_port}/", WebRules())
    assert not site.asked


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *((one, True) for one in ("8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8")),
        *((one, False) for one in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254")),
        *((one, False) for one in ("100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1")),
        *((one, False) for one in ("::1", "::", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1")),
        *((one, False) for one in ("::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1")),
    ],
)  # fmt: skip
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_a_redirect_to_a_private_host_is_refused(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    port = site.server_port
    rules = WebRules(private_hosts=frozenset({"localhost"}), seconds=20)
    with pytest.raises(FetchError, match=r"private network; --allow-host 127\.0\.0\.1"):
        fetch(f"http://localhost:{port}/to?http://127.0.0.1:{port}/inner", rules)
    assert site.asked == [f"/to?http://127.0.0.1:{port}/inner"]
    for other in ("file:///etc/passwd", "gopher://localhost/", "http://u:p@localhost/"):
        with pytest.raises(FetchError, match=r"leads to, no http|a name or a password"):
            fetch(f"http://localhost:{port}/to?{other}", rules)
    assert fetch(f"http://localhost:{port}/to?/to?/there", rules).startswith(b"/there")
    with pytest.raises(FetchError, match="leads on more than 5 times"):
        fetch(f"http://localhost:{port}{'/to?' * 7}/there", rules)


def test_a_name_server_that_changes_its_mind_is_asked_once(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answers(host: str) -> list[str]:
        asked.append(host)
        return ["203.0.113.7"] if len(asked) == 1 else ["127.0.0.1"]

    named(monkeypatch, answers)
    monkeypatch.setattr(fetching, "is_public", lambda ip: ip != "127.0.0.1")  # 203.0.113.0/24 is nobody's
    connected: list[str] = []

    def connect(_: socket.socket, place: tuple[str, int]) -> None:
        connected.append(place[0])
        raise OSError("not from here")

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(FetchError, match="does not answer as a web server"):
        fetch(f"http://rebinding.example:{site.server_port}/", WebRules(seconds=20))
    assert (asked, connected) == (["rebinding.example"], ["203.0.113.7"])


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, lambda host: ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(FetchError, match="private network"):
        fetch("http://both.example/", WebRules())


@pytest.mark.parametrize("path", ["slow", "trickle"])
def test_a_host_that_answers_a_byte_at_a_time_has_its_time(site: Any, path: str) -> None:
    rules = WebRules(private_hosts=HERE.private_hosts, seconds=1)
    started = time.monotonic()
    with pytest.raises(FetchError, match="took longer than 1 s"):
        fetch(f"http://127.0.0.1:{site.server_port}/{path}", rules)
    assert time.monotonic() - started < 8


def test_a_resolver_that_hangs_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()

    def answers(host: str) -> list[str]:
        hang.wait(30)
        return []

    named(monkeypatch, answers)
    with pytest.raises(FetchError, match=r"took longer than 0\.2 s"):
        fetch("http://hangs.example/", WebRules(seconds=0.2))
    hang.set()


@pytest.mark.parametrize("path", ["/slow", "/trickle"])
def test_a_fetch_ends_at_once_when_nobody_waits_for_it(site: Any, path: str) -> None:
    assert ended_after_a_moment(f"http://127.0.0.1:{site.server_port}{path}")
    ending = Ending()
    ending.end()
    with pytest.raises(FetchError, match="it was called off"):
        fetch(f"http://127.0.0.1:{site.server_port}/never", HERE, ending)
    assert site.asked == [path]


def test_a_fetch_that_waits_for_a_name_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()

    def answers(host: str) -> list[str]:
        hang.wait(30)
        return []

    named(monkeypatch, answers)
    assert ended_after_a_moment("http://hangs.example/")
    hang.set()


def test_a_fetch_that_waits_for_a_connection_ends_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        place = full.getsockname()
        for _ in range(4):  # fill its queue: who comes now waits
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(place)
        assert ended_after_a_moment(f"http://127.0.0.1:{place[1]}/")


def ended_after_a_moment(url: str) -> bool:
    """Whether a fetch ends when it is called off, 0.3 s after its start: not before, nor much later."""
    ending = Ending()
    threading.Timer(0.3, ending.end).start()
    started = time.monotonic()
    with pytest.raises(FetchError):
        fetch(url, HERE, ending)
    return 0.2 < time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/large", "more than 10,000 bytes"),
        ("/endless", "more than 10,000 bytes"),
        ("/cut", "ended before its end"),
        ("/gone", "the host answered 404$"),
    ],
)
def test_what_a_host_answers_amiss_is_a_sentence(site: Any, path: str, why: str) -> None:
    with pytest.raises(FetchError, match=why):
        fetch(f"http://127.0.0.1:{site.server_port}{path}", HERE)


@pytest.mark.parametrize("address", ["http://", "http://u:p@127.0.0.1/", "http://[::1", "http://a:99999/"])
def test_what_is_no_address_is_a_sentence(address: str) -> None:
    with pytest.raises(FetchError, match="cannot be fetched"):
        fetch(address, HERE)


def test_a_server_that_speaks_no_http_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(FetchError, match="does not answer as a web server") as caught:
            fetch(f"http://127.0.0.1:{port}/", HERE)
    assert "ESMTP" not in str(caught.value)


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The server's side of TLS for localhost, by a certificate that this process trusts."""
    certificate, context = certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return context


def test_a_certificate_is_checked_for_the_name_and_not_for_the_address(
    site: Any, certified: ssl.SSLContext
) -> None:
    site.socket = certified.wrap_socket(site.socket, server_side=True)
    assert fetch(f"https://localhost:{site.server_port}/x", HERE).startswith(b"/x|localhost")
    with pytest.raises(FetchError, match="no valid certificate"):
        fetch(f"https://127.0.0.1:{site.server_port}/x", HERE)
