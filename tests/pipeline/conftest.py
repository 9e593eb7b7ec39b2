"""Servers for the tests that write to a cloud's storage."""

from collections.abc import Iterator

import pytest

from pipeline.ingest import object_stores, storage
from tests.pipeline.clouds import Cloud, serve_azurite, serve_clouds
from tests.pipeline.s3 import Server, serve

FAKES = ["gs", "az"]
AZURITE = pytest.param("azurite", marks=pytest.mark.program("azurite-blob"))  # Microsoft's own
CLOUDS = [*FAKES, AZURITE]


@pytest.fixture(scope="session")
def running_s3() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture(scope="module")
def s3_server(running_s3: Server) -> Iterator[Server]:
    """An S3 server of our own, with a bucket "quire"; `AWS_*` point there."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in running_s3.settings.items():
            patch.setenv(name, value)
        yield running_s3


@pytest.fixture(scope="module")
def bucket(s3_server: Server) -> str:
    return f"s3://{s3_server.bucket}"


@pytest.fixture(scope="session")
def running_clouds() -> Iterator[int]:
    with serve_clouds() as port:
        yield port


@pytest.fixture(scope="session")
def running_azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serve_azurite(tmp_path_factory.mktemp("azurite")) as port:
        yield port


@pytest.fixture(params=CLOUDS)
def cloud(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cloud]:
    """A store that is empty, to which the environment leads."""
    port = request.getfixturevalue("running_azurite" if request.param == "azurite" else "running_clouds")
    scheme = "gs" if request.param == "gs" else "az"
    store = Cloud(port=port, scheme=scheme, folder=tmp_path_factory.mktemp("cloud"))
    for name, value in store.settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(object_stores, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(object_stores, "LONGEST_WAIT", 0.1)
    storage._bucket.cache_clear()
    if request.param in FAKES:
        store.struck()  # a test that failed may have left a fault
    store.clear()
    yield store
    storage._bucket.cache_clear()
