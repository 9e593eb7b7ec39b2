"""A publish that is killed, or stale, leaves some version of the Delta table, whole: with real processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.publish.test_iceberg import Place

pytestmark = pytest.mark.soak  # some 25 processes, each of which takes seconds to import


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "out"), {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"})


def publishing(place: Place, number: int, kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.pipeline.publish.victim", place.output]
    arguments = [*command, json.dumps(place.properties), place.answers.name, str(number), kind]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_publish_that_is_killed_at_any_write_leaves_a_version_whole(here: Place) -> None:
    seen: set[bool] = set()
    before, number = None, 0
    while True:
        number += 1
        here.add(f"a {number}", f"b {number}", replacing=number > 1)
        process = publishing(here, number, "KILL")
        _, said = process.communicate(timeout=120)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, said
        found = here.check()
        again = here.publish()
        assert found in (before, again.version)
        assert again.is_new == (found == before)
        assert here.check() == again.version
        seen.add(found == before)
        before = again.version
    assert number > 8, "most writes are not seen"
    assert seen == {True, False}


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_publish_that_stood_still_and_was_overtaken_fails(here: Place, number: int) -> None:
    here.add("a")
    here.publish()
    here.add("b", replacing=True)
    process = publishing(here, number, "STOP")
    assert process.stdout is not None
    assert process.stdout.readline() == "stopped\n"
    here.add("c", replacing=True)
    newer = here.publish()
    os.kill(process.pid, signal.SIGCONT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "was changed by another publish or tool meanwhile" in said
    assert here.check() == newer.version
    assert not here.publish().is_new
