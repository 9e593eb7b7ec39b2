"""Images at http(s) addresses: fetched with limits of size and time, and from public addresses alone.

In: an address that a client named. Out: the bytes, or an ApiError 400. A server stands where its clients may
not: so a host is resolved once, its addresses are checked, and the connection goes to a checked address, not
to the name again, which might resolve to another one by then. The same holds for every redirect. Private
addresses are for hosts that a person has allowed. Proxies of the environment are not asked.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from jobs.serving.errors import ApiError, refused

MOST_BYTES: Final = 32 * 2**20
SECONDS: Final = 15.0  # for an image, redirects included
REDIRECTS: Final = 5
REDIRECTED: Final = (301, 302, 303, 307, 308)
PORTS: Final = {"http": 80, "https": 443}
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_CHUNK: Final = 2**16
_KEPT: Final = "/%:@!$&'()*+,;=?~"  # of an address; what is no ASCII is written out

Peer = tuple[socket.AddressFamily, tuple[Any, ...]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, kw_only=True)
class Fetching:
    """Whether images are fetched, and of which hosts although their addresses are private."""

    allowed: bool = False
    private_hosts: frozenset[str] = frozenset()
    most_bytes: int = MOST_BYTES
    seconds: float = SECONDS


def fetch(url: str, fetching: Fetching) -> bytes:
    """The bytes at an http(s) address. Raises ApiError 400."""
    if not fetching.allowed:
        raise _refused(url, "this server fetches no images (--allow-http): send it as a data: URL")
    deadline = time.monotonic() + fetching.seconds
    for _ in range(REDIRECTS + 1):
        try:
            found = _get(url, fetching, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = str(error) or type(error).__name__
            if time.monotonic() >= deadline:
                why = f"it took more than {fetching.seconds:g} s"
            raise _refused(url, why) from error
        if isinstance(found, bytes):
            return found
        url = found
    raise _refused(url, f"more than {REDIRECTS} redirects")


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet's, also where IPv6 only wraps one of IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.teredo is not None:
            return False
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def _get(url: str, fetching: Fetching, deadline: float) -> bytes | str:
    """The bytes, or the address to which it is redirected."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname or "@" in parts.netloc:
        raise _refused(url, "the address is not of the form http(s)://host/path")
    host = parts.hostname.encode("idna").decode().lower()
    peer = _resolve(host, parts.port or PORTS[parts.scheme], private=host in fetching.private_hosts)
    with _connected(parts, host, peer, deadline) as connection:
        target = quote(parts.path or "/", safe=_KEPT)
        if parts.query:
            target += "?" + quote(parts.query, safe=_KEPT)
        connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": "quire"})
        with closing(connection.getresponse()) as response:
            if response.status in REDIRECTED:
                where = response.getheader("Location")
                if not where:
                    raise ValueError(f"status {response.status} without a place to go")
                return urljoin(url, where)
            if response.status != 200:
                raise ValueError(f"the host answers with status {response.status}")
            return _body(response, fetching.most_bytes, deadline)


def _body(response: http.client.HTTPResponse, most: int, deadline: float) -> bytes:
    chunks, size = [], 0
    while chunk := response.read(_CHUNK):
        size += len(chunk)
        if size > most:
            raise ValueError(f"it has more than {most:,} bytes")
        chunks.append(chunk)
    # The end may be that of the time, at which the connection is shut down, or come too early.
    if time.monotonic() >= deadline or response.length:
        raise TimeoutError("the connection ended before the image")
    return b"".join(chunks)


def _resolve(host: str, port: int, *, private: bool) -> Peer:
    """The address to connect to. Raises ValueError if none may be."""
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if private or is_public(ipaddress.ip_address(str(address[0]).partition("%")[0])):
            return family, address
    raise ValueError("its host has a private address (--allow-host HOST allows it)")


@contextmanager
def _connected(
    parts: SplitResult, host: str, peer: Peer, deadline: float
) -> Iterator[http.client.HTTPConnection]:
    """A connection that is shut down at the deadline, however slowly something still comes."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    family, address = peer
    plain = socket.socket(family, socket.SOCK_STREAM)
    plain.settimeout(left)
    watch = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, (plain,))
    watch.daemon = True
    watch.start()
    connection = http.client.HTTPConnection(host, address[1])
    try:
        plain.connect(address)
        connection.sock = plain
        if parts.scheme == "https":
            # The certificate is the name's, whatever the address.
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            connection.default_port = PORTS["https"]
        yield connection
    finally:
        watch.cancel()
        connection.close()
        plain.close()


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is over


def _refused(url: str, why: str) -> ApiError:
    shown = url if len(url) <= 100 else f"{url[:100]}..."
    return refused(f"the image {shown} cannot be fetched: {why}", "messages", "invalid_image_url")
