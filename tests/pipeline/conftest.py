"""An S3 server for the tests that write to one."""

from collections.abc import Iterator

import pytest

from tests.pipeline.s3 import Server, serve


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
