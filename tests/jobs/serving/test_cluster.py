"""A server on a cluster that runs already: it answers there, and leaves nothing behind."""

import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.jobs.ray_head import Head, environment_beside, running_head
from tests.jobs.serving.served import run_serve, serving

pytestmark = [pytest.mark.processes, pytest.mark.soak]
FLAGS = ("--dtype", "float32", "--max-side", "256")
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Go on."}],
    "max_tokens": 6,
    "temperature": 0,
    "ignore_eos": True,
}
GONE_SECONDS = 60


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with running_head(environment_beside()) as found:
        yield found


def joining(head: Head) -> dict[str, str]:
    return environment_beside() | {"RAY_ADDRESS": head.cluster}


def ours(head: Head) -> list[str]:
    """What runs on the cluster for a server."""
    names = [one.name() for one in psutil.Process(head.pid).children(recursive=True)]
    return [name for name in names if name.startswith(("ray::TPWorker", "ray::Serve", "ray::Proxy", "quire"))]


def wait_until_none(head: Head) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while left := ours(head):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@pytest.mark.parametrize("flag", ["--tensor-parallel", "--replicas"])
def test_a_server_joins_the_cluster_that_ray_address_names(head: Head, flag: str) -> None:
    with serving(*FLAGS, flag, "2", environment=joining(head)) as server:
        assert ours(head)
        assert server.ask(ASKED)["usage"]["completion_tokens"] == 6
        if flag == "--replicas":
            status, said = run_serve(*FLAGS, "--replicas", "2", environment=joining(head))
            assert status == 2
            assert "Ray Serve runs on this cluster already" in said
            assert server.ask(ASKED)["usage"]["completion_tokens"] == 6
    wait_until_none(head)
