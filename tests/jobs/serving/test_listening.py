"""A port is held from its look to its use, and nobody takes it meanwhile."""

import socket

import pytest

from jobs.serving.listening import base_url, bound


def listening(port: int, *, shares: bool) -> socket.socket:
    """Who listens at the port. Raises OSError."""
    found = socket.socket()
    try:
        option = socket.SO_REUSEPORT if shares else socket.SO_REUSEADDR  # as most servers do
        found.setsockopt(socket.SOL_SOCKET, option, 1)
        found.bind(("127.0.0.1", port))
        found.listen()
    except OSError:
        found.close()
        raise
    return found


def test_a_shared_port_is_for_who_shares_it() -> None:
    """Ray Serve does. Between the look and its listening, the port was free for anybody."""
    with bound("127.0.0.1", 0, shared=True) as held:
        port = held.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            listening(port, shares=False)
        with listening(port, shares=True) as ray, socket.create_connection(("127.0.0.1", port), timeout=5):
            ray.settimeout(5)
            ray.accept()[0].close()
            with (
                pytest.raises(ValueError, match=f"--port {port} cannot be listened on: Address already"),
                bound("127.0.0.1", port, shared=True),
            ):
                pass


def test_a_port_of_its_own_is_for_nobody_else() -> None:
    """Of two servers that were started together, both had it, and one ended in a traceback."""
    with bound("127.0.0.1", 0) as held:
        for shares in (True, False):
            with pytest.raises(OSError, match="in use"):
                listening(held.getsockname()[1], shares=shares)
        held.listen()


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    assert base_url("::1", 80) == "http://[::1]:80/v1"
