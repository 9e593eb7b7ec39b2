"""Whichever process is killed, no item is lost and none is there twice: the table of `kills`, in small."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_what_is_killed_costs_no_row() -> None:
    command = [sys.executable, "-m", "tests.pipeline.kills", "--documents", "12", "--kills", "2"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
