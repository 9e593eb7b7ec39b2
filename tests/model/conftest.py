"""Worlds of ranks that live as long as the tests that only ask them for something."""

from collections.abc import Iterator

import pytest

from tests.model.ranks import Ranks


@pytest.fixture(scope="session", params=[2, 4])
def ranks(request: pytest.FixtureRequest) -> Iterator[Ranks]:
    """A world on the CPU. A test that kills or breaks ranks makes a world of its own."""
    ranks = Ranks(request.param)
    yield ranks
    ranks.close()
