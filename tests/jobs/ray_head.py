"""A Ray cluster of one machine, as a person starts it: `ray start --head`, on ports of its own."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.environment import without_ray

BIN = Path(sys.executable).parent
START_SECONDS = 200


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago: all are held until the last is found."""
    sockets = [socket.socket() for _ in range(count)]
    for held in sockets:
        held.bind(("127.0.0.1", 0))
    ports = [int(held.getsockname()[1]) for held in sockets]
    for held in sockets:
        held.close()
    return ports


@dataclass(frozen=True)
class Head:
    """Addresses of a running head."""

    cluster: str
    dashboard: str
    pid: int  # of the process whose children all of its are


def environment_beside() -> dict[str, str]:
    """That of a person who has a cluster of their own, without this process's Ray or its token."""
    kept = without_ray()
    path = f"{BIN}{os.pathsep}{kept['PATH']}"  # for `ray` and `python` in the commands
    return kept | {"PATH": path, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def running_head(environment: Mapping[str, str]) -> Iterator[Head]:
    """The head; on other ports, where somebody took one of them meanwhile."""
    for _ in range(3):
        folder = tempfile.mkdtemp(prefix="q")  # not pytest's: the path of a socket may have 107 characters
        log = Path(folder, "start.log")
        try:
            with start_head(folder, log, environment) as started:
                if started is not None:
                    yield started
                    return
                said = log.read_text()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    pytest.fail(f"the head does not start: {said}")


@contextmanager
def start_head(folder: str, log: Path, environment: Mapping[str, str]) -> Iterator[Head | None]:
    """The head, once it answers; None if it ended before."""
    port, client, dashboard, agent, grpc = free_ports(5)
    options = (
        f"--head --block --num-cpus=2 --include-dashboard=true --node-ip-address=127.0.0.1 "
        f"--temp-dir={folder} --port={port} --ray-client-server-port={client} --dashboard-port={dashboard} "
        f"--dashboard-agent-listen-port={agent} --dashboard-agent-grpc-port={grpc}"
    )
    with log.open("w") as output:
        command = [str(BIN / "ray"), "start", *options.split()]
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            head = Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", process.pid)
            yield head if answers(f"{head.dashboard}/api/version", process) else None
        finally:
            # Asked to end, it would wait half a minute for what it has started.
            if process.poll() is None:
                for one in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
            process.kill()
            process.wait()


def answers(url: str, process: "subprocess.Popen[bytes]") -> bool:
    """Waits until the address answers; False if the process ends before."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.25)
    return False
