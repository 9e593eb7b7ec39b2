"""`make test` runs every test in one of its lanes, and `.ci/run` installs every program that a test needs."""

import re
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression  # nothing public says what -m would choose

from tests.conftest import COLLECTED
from tests.lanes import COMPUTING, LONG, LONGEST, PROCESSES, starters

ROOT = Path(__file__).parents[1]
STARTERS = {"one_cpu_ray", "head", "running_s3"}  # fixtures that start Ray, or a server


def chosen(item: pytest.Item, markers: str) -> bool:
    names = {marker.name for marker in item.iter_markers()}
    return Expression.compile(markers).evaluate(lambda name, /, **_: name in names)


def test_every_test_is_in_one_lane(pytestconfig: pytest.Config) -> None:
    """Of those that were collected: in a lane all of them, also those of the other one."""
    for item in pytestconfig.stash[COLLECTED]:
        lanes = [chosen(item, markers) for markers in (COMPUTING, PROCESSES)]
        elsewhere = chosen(item, "soak or gpu")
        assert sum(lanes) == (not elsewhere), item.nodeid


def test_what_starts_ray_or_a_server_is_in_the_lane_of_processes(pytestconfig: pytest.Config) -> None:
    for item in pytestconfig.stash[COLLECTED]:
        if isinstance(item, pytest.Function) and STARTERS & set(item.fixturenames):
            assert chosen(item, "processes"), item.nodeid


def test_the_lane_of_processes_is_given_each_file_that_has_one_of_its_tests(
    pytestconfig: pytest.Config,
) -> None:
    given = {ROOT / path for path in starters()}
    for item in pytestconfig.stash[COLLECTED]:
        assert not chosen(item, PROCESSES) or item.path in given, item.nodeid


def test_files_that_are_named_are_there() -> None:
    assert [path for path in (*LONG, *LONGEST) if not (ROOT / path).exists()] == []


def test_ci_installs_every_program_that_a_test_needs(pytestconfig: pytest.Config) -> None:
    installed = re.search(r"^programs=\(([^)]*)\)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert installed
    needed = {
        str(marker.args[0])
        for item in pytestconfig.stash[COLLECTED]
        for marker in item.iter_markers("program")
        if any(chosen(item, lane) for lane in (COMPUTING, PROCESSES))
    }
    assert needed <= set(installed[1].split())
