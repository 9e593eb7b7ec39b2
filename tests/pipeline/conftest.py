"""An S3 server for the tests that write to one."""

from collections.abc import Iterator

import pytest

from tests.pipeline.s3 import Server, serve


@pytest.fixture(scope="module")
def s3_server() -> Iterator[Server]:
    """An S3 server of our own, with a bucket "quire"; `AWS_*` point there."""
    with pytest.MonkeyPatch.context() as patch, serve(patch) as server:
        yield server


@pytest.fixture(scope="module")
def bucket(s3_server: Server) -> str:
    return f"s3://{s3_server.bucket}"
