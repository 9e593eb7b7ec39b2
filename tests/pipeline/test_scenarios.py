"""Replicas of several ranks when a node goes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.environment import without_ray

ROOT = Path(__file__).parents[2]
SECONDS = 600  # of a minute that the machine may be too busy to give

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(SECONDS + 60),
]


def outcome(scenario: str, checkpoint: Path, folder: Path) -> dict[str, Any]:
    """What the program printed."""
    environment = without_ray()
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.scenarios", scenario, str(checkpoint), str(folder)],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.soak
def test_a_node_that_goes_takes_no_answer_with_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    found = outcome("two_nodes", tiny_checkpoint, tmp_path)
    assert found == {"nodes_left": 1, "apart": True, "answered": 72, "equal": True}
