"""Processes are told apart, and their memory is counted once."""

import os
import subprocess
import sys

import pytest

from jobs.bench.process_memory import DRIVER, OTHERS, footprint, kind_of

HOLDING = "import sys; kept = bytearray(b'x' * (64 << 20)); print(flush=True); sys.stdin.read()"


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["/x/ray/core/src/ray/raylet/raylet", "--session_dir=/tmp/ray/s"], "raylet"),
        (["/x/ray/core/src/ray/gcs/gcs_server"], "gcs"),
        (["/x/.venv/bin/python", "-m", "pipeline.rasterize.sandbox_main", "3"], "sandbox"),
        (["ray::MapWorker(MapBatches(Replica)).submit"], "replica"),
        (["/x/.venv/bin/python", "-m", "pipeline.infer.engine_main", "3", "4"], "replica"),
        (["ray::MapBatches(open_packs)->MapBatches(draw_packs)"], "workers"),
        (["ray::IDLE"], "workers"),
        (["ray::_StatsActor"], "others"),
        (["ray::DashboardAgent"], "others"),
        (["/x/.venv/bin/python", "-u", "/x/ray/autoscaler/_private/monitor.py"], "others"),
    ],
)
def test_a_command_line_says_what_a_process_is(command: list[str], kind: str) -> None:
    assert kind_of(command) == kind


def test_a_childs_memory_is_its_own() -> None:
    """64 MiB that a child holds are neither the driver's nor missing."""
    before = footprint(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = footprint(os.getpid())
        child.kill()
    assert found.processes[DRIVER] == 1
    assert 64 << 20 <= found.own[OTHERS] - before.own[OTHERS] < 96 << 20
    assert found.own[DRIVER] - before.own[DRIVER] < 16 << 20
