"""What lies at an http: or https: address, fetched under limits, and from public hosts alone.

In: an address that somebody else wrote, and what the person allows. Out: the bytes, or a FetchError of one
sentence. A name is resolved once; each address that it has is checked, and the connection goes to one of
those, so that a second answer of the name server changes nothing. Redirects are checked in the same way. No
proxy, cookie or password is used, and no sentence says what else a host answered: who wrote the address may
read it.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread, Timer
from typing import Any, Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

MAX_REDIRECTS: Final = 5
PORTS: Final = {"http": 80, "https": 443}
_SHOWN: Final = 200  # characters of an address in a sentence
_CHUNK: Final = 2**16
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses as IPv6 (RFC 6052)


class FetchError(ValueError):
    """An address that is not allowed, or has nothing to give. One sentence, and why in one word."""

    def __init__(self, message: str, reason: str = "unreadable") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class WebRules:
    """What may be fetched."""

    private_hosts: frozenset[str] = frozenset()
    """Hosts, as addresses name them, in small letters, that may lie in a private network."""
    max_bytes: int = 64 * 2**20
    """Of one answer."""
    seconds: float = 30.0
    """Of one address, with its redirects."""


def rules_of(allow_http: bool, allow_hosts: Iterable[str]) -> WebRules | None:
    """What flags allow; None: nothing. Raises ValueError."""
    if not allow_http:
        if any(allow_hosts):
            raise ValueError("--allow-host is about the web: add --allow-http, or leave it out")
        return None
    return WebRules(private_hosts=frozenset(map(str.lower, allow_hosts)))


@dataclass(frozen=True)
class _Place:
    """An address that a name has."""

    family: socket.AddressFamily
    address: tuple[Any, ...]

    @property
    def ip(self) -> str:
        return str(self.address[0])


class Ending:
    """Ends fetches from another thread, at once: those under way, and those that would begin."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ended = False
        self._wakers: list[Callable[[], object]] = []

    def end(self) -> None:
        """Each of them raises FetchError, or has its bytes already."""
        with self._lock:
            self._ended = True
            for wake in self._wakers:
                wake()

    @contextmanager
    def wakes(self, wake: Callable[[], object]) -> Iterator[None]:
        """While the block waits, `end` calls `wake`, which must not wait itself. Raises FetchError."""
        with self._lock:
            if self._ended:
                raise FetchError("it was called off")
            self._wakers.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wakers.remove(wake)


def is_web(address: str) -> bool:
    """Whether it is for `fetch`."""
    return address.lower().startswith(("http://", "https://"))


def fetch(address: str, rules: WebRules | None, ending: Ending | None = None) -> bytes:
    """The bytes that lie there. Without rules nothing is allowed. Raises FetchError."""
    ending = ending or Ending()
    name = address if len(address) <= _SHOWN else f"{address[:_SHOWN]}..."
    if rules is None:
        raise FetchError(f"{name} is not fetched: --allow-http allows it", "not_allowed")
    deadline = time.monotonic() + rules.seconds
    try:
        for _ in range(MAX_REDIRECTS + 1):
            found = _get(address, rules, deadline, ending)
            if isinstance(found, bytes):
                return found
            address = urljoin(address, found)
    except TimeoutError:
        raise FetchError(f"{name} cannot be fetched: it took longer than {rules.seconds:g} s") from None
    except (ssl.SSLError, ssl.CertificateError):
        raise FetchError(f"{name} cannot be fetched: no secure connection, or no valid certificate") from None
    except (OSError, HTTPException):
        raise FetchError(f"{name} cannot be fetched: the host does not answer as a web server") from None
    except FetchError as error:
        raise FetchError(f"{name} cannot be fetched: {error}", error.reason) from None
    raise FetchError(f"{name} cannot be fetched: it leads on more than {MAX_REDIRECTS} times")


def is_public(address: str) -> bool:
    """Whether an IP address lies in the public internet: no private network, nor this machine."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.teredo is not None or ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def _get(address: str, rules: WebRules, deadline: float, ending: Ending) -> bytes | str:
    """The bytes, or where they are said to lie instead."""
    place, host = _split(address)
    port = place.port or PORTS[place.scheme]
    places = _resolve(host, port, deadline, ending)
    if host not in rules.private_hosts and not all(is_public(one.ip) for one in places):
        raise FetchError(f"{host} lies in a private network; --allow-host {host} allows it", "not_allowed")
    with _connected(place, host, port, places, deadline, ending) as connection:
        target = quote(place.path or "/", safe="%/:=&~+!$,;'@()*[]")
        if place.query:
            target += "?" + quote(place.query, safe="%/:=&?~+!$,;'@()*[]")
        connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "quire"})
        # Closed here: on its way out with an error it would hold the socket open until the next collection.
        with connection.getresponse() as response:
            location = response.headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and location:
                return location
            if response.status != 200:
                gone = response.status in (404, 410)
                raise FetchError(f"the host answered {response.status}", "missing" if gone else "unreadable")
            return _read(response, rules.max_bytes)


def _split(address: str) -> tuple[SplitResult, str]:
    """The address in its parts, and its host. Raises FetchError for one that has a password, or no host."""
    try:
        place = urlsplit(address)
        host = (place.hostname or "").encode("idna").decode() if place.port != 0 else ""
    except (ValueError, UnicodeError):
        raise FetchError("it is no address") from None
    if place.scheme not in PORTS or not host:
        raise FetchError("it is, or leads to, no http: or https: address of a host")
    if place.username is not None or place.password is not None:
        raise FetchError("it holds a name or a password", "not_allowed")
    return place, host


def _resolve(host: str, port: int, deadline: float, ending: Ending) -> list[_Place]:
    """The addresses of a name; in a thread, since the resolver has no time limit."""
    found: SimpleQueue[list[_Place]] = SimpleQueue()

    def ask() -> None:
        try:
            all_of_it = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            all_of_it = []
        found.put([_Place(family, address) for family, _, _, _, address in all_of_it])

    Thread(target=ask, name="resolving", daemon=True).start()
    try:
        with ending.wakes(partial(found.put, [])):
            places = found.get(timeout=max(0.0, deadline - time.monotonic()))
    except Empty:
        raise TimeoutError from None
    if not places:
        raise FetchError(f"there is no host {host}")
    return list(dict.fromkeys(places))


@contextmanager
def _connected(
    place: SplitResult, host: str, port: int, places: list[_Place], deadline: float, ending: Ending
) -> Iterator[HTTPConnection]:
    """A connection to one of these addresses, which ends when the time is up. Then raises TimeoutError."""
    sock = _connect(places, deadline, ending)
    late = Event()

    def end() -> None:
        late.set()
        _shut(sock)  # wakes who reads; a host may send a byte now and then

    timer = Timer(max(0.0, deadline - time.monotonic()), end)
    timer.daemon = True
    timer.start()
    try:
        connection = HTTPConnection(f"[{host}]" if ":" in host else host, port)
        connection.sock = sock
        if place.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
            connection.default_port = PORTS["https"]
        try:
            with ending.wakes(end):
                yield connection
        finally:
            connection.close()
        if late.is_set():
            raise TimeoutError  # the end of a body without a length was ours
    except (OSError, HTTPException, FetchError):
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        sock.close()


def _connect(places: list[_Place], deadline: float, ending: Ending) -> socket.socket:
    """The first of the addresses that takes the connection. Raises OSError."""
    for place in places:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock = socket.socket(place.family)
        sock.settimeout(left)
        try:
            with ending.wakes(partial(_shut, sock)):
                sock.connect(place.address)
        except OSError as error:
            sock.close()
            failed = error
        except FetchError:
            sock.close()
            raise
        else:
            return sock
    raise failed


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # it may be closed
        sock.shutdown(socket.SHUT_RDWR)


def _read(response: HTTPResponse, limit: int) -> bytes:
    """The whole body. Raises FetchError for one above the limit, or cut short."""
    if response.length is not None and response.length > limit:
        raise FetchError(f"it has more than {limit:,} bytes", "too_large")
    expected = response.length
    chunks, size = [], 0
    while chunk := response.read1(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise FetchError(f"it has more than {limit:,} bytes", "too_large")
    if expected is not None and size < expected:
        raise FetchError("the connection ended before its end")
    return b"".join(chunks)
