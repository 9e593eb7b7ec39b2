"""What the environment says of Ray is checked in seconds, and a mistake is one sentence with its remedy."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Thread

import pytest
import ray

from jobs.run import ray_address
from jobs.run.ray_address import SOCKET, SOCKET_BYTES, check_head, cluster_address
from jobs.run.ray_session import connected
from pipeline.ray_internals import head_error


@pytest.mark.parametrize("address", ["", "local"])
def test_without_a_cluster_ray_is_private(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert cluster_address() is None


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (
            "http://127.0.0.1:8265",
            "http:// leads to no place where a job can run; give the head as HOST:PORT",
        ),
        ("https://cluster/", "https:// leads to no place"),
        ("ray://127.0.0.1:10001", "ray:// leads to no place"),
        ("127.0.0.1", "give the head as HOST:PORT, mostly HOST:6379, or auto"),
        ("127.0.0.1:", "give the head as HOST:PORT"),
        (":6379", "give the head as HOST:PORT"),
        ("127.0.0.1:70000", "give the head as HOST:PORT"),
        ("127.0.0.1:ray", "give the head as HOST:PORT"),
        ("127.0.0.1:6379/x", "give the head as HOST:PORT"),
        ("127.0.0.1:6379 ", "give the head as HOST:PORT"),
        ("127.0.0.1:1", "no Ray answers there"),
    ],
)
def test_an_address_at_which_no_ray_can_be_is_refused(
    address: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ValueError, match="RAY_ADDRESS") as caught, connected():
        pytest.fail("Ray was started")
    assert str(caught.value).startswith(f"RAY_ADDRESS {address}: ")
    assert says in str(caught.value)


@contextmanager
def service(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """A TCP service of another kind, as its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                open_ones.append(connection)
                serve(connection)

        open_ones: list[socket.socket] = []
        Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for connection in open_ones:
            connection.close()


@pytest.mark.parametrize(
    "serve",
    [
        lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"),
        lambda connection: connection.close(),
        lambda connection: None,  # says nothing, and keeps the connection
    ],
    ids=["http", "ssh", "closes", "mute"],
)
def test_another_service_is_no_ray(
    serve: Callable[[socket.socket], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_address, "CHECK_SECONDS", 0.5)
    with service(serve) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert cluster_address() == address  # somebody answers
        with pytest.raises(ValueError, match="what answers there is not the head of a Ray") as caught:
            check_head(address)
    assert str(caught.value).startswith(f"RAY_ADDRESS {address}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.processes
def test_the_head_of_a_ray_is_one_and_its_other_services_are_not(one_cpu_ray: None) -> None:
    assert head_error(ray.get_runtime_context().gcs_address, 60) is None
    (node,) = ray.nodes()
    raylet = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
    assert "unimplemented" in (head_error(raylet, 60) or "")


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_in_which_sockets_do_not_fit_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("RAY_ADDRESS", "TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(other, raising=False)
    path = SOCKET.format(os.getpid())
    most = SOCKET_BYTES - len(path)
    monkeypatch.setenv(name, "/" + "x" * (most - 1))
    assert cluster_address() is None
    with closing(socket.socket(socket.AF_UNIX)) as one, pytest.raises(FileNotFoundError):
        one.bind(f"/{'x' * (most - 1)}{path}")  # such a path fits, and there is no such folder
    for folder in ("/" + "x" * most, "/é" + "x" * (most - 2)):
        monkeypatch.setenv(name, folder)
        says = f"^{name} {folder} has {most + 1} bytes, .* fit up to {most}; set RAY_TMPDIR to"
        with pytest.raises(ValueError, match=says):
            cluster_address()
