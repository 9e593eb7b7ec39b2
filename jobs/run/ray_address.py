"""What the environment says of Ray, checked before Ray starts, which itself would try for minutes.

RAY_ADDRESS names a cluster, as HOST:PORT of its head, or auto for the one of this machine; local, or nothing,
is a private Ray. RAY_TMPDIR or TMPDIR says where a private Ray has its folder. All that is wrong is a
ValueError of one sentence.
"""

import os
from typing import Final
from urllib.parse import urlsplit

from jobs.run.ray_watchdog import connection_error

CONNECT_SECONDS: Final = 10.0
CHECK_SECONDS: Final = 30.0  # for the head, which may have much to do
SOCKET_BYTES: Final = 107  # of a socket's path, by Linux
SOCKET: Final = "/ray/session_2026-01-02_03-04-05_678901_{}/sockets/plasma_store"  # with a process id


def cluster_address() -> str | None:
    """The cluster that RAY_ADDRESS names, where somebody answers; None: a private Ray. Raises ValueError."""
    address = os.environ.get("RAY_ADDRESS")
    if not address or address == "local":
        _check_temporary_folder()
        return None
    if address == "auto":  # Ray finds it
        return address
    scheme, separator, _ = address.partition("://")
    if separator:
        raise ValueError(
            f"RAY_ADDRESS {address}: {scheme}:// leads to no place where a job can run; give the head as "
            "HOST:PORT, mostly HOST:6379, or use `ray job submit`, which takes http://"
        )
    if not _has_port(address):
        raise ValueError(f"RAY_ADDRESS {address}: give the head as HOST:PORT, mostly HOST:6379, or auto")
    # Ray itself would try for minutes, with a warning every few seconds.
    if error := connection_error(address, CONNECT_SECONDS):
        raise ValueError(
            f"RAY_ADDRESS {address}: no Ray answers there ({error}); start one, or unset RAY_ADDRESS for a "
            "private one"
        ) from error
    return address


def check_head(address: str) -> None:
    """Raises ValueError if what answers at the address is not the head of a Ray."""
    from pipeline.ray_internals import head_error

    if address != "auto" and (error := head_error(address, CHECK_SECONDS)):
        raise ValueError(
            f"RAY_ADDRESS {address}: what answers there is not the head of a Ray ({error}); its port is "
            "mostly 6379, and 8265 and 10001 are others of Ray's"
        )


def _has_port(address: str) -> bool:
    try:
        place = urlsplit(f"//{address}")
        return bool(place.hostname and place.port) and address == place.netloc
    except ValueError:  # no number, or none of a port
        return False


def _check_temporary_folder() -> None:
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder = os.environ.get(name, "/tmp")
    most = SOCKET_BYTES - len(SOCKET.format(os.getpid()))
    if len(os.fsencode(folder)) > most:
        raise ValueError(
            f"{name} {folder} has {len(os.fsencode(folder))} bytes, and Ray's sockets below it fit up to "
            f"{most}; set RAY_TMPDIR to a folder with a shorter path, such as /tmp"
        )
