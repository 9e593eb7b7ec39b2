"""An output that cannot be written is one sentence, before Ray starts and any document is opened."""

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.commit.lease import Committer
from pipeline.commit.tables import create_tables
from tests.pipeline.drawn import pdf_bytes

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1  # linux/prctl.h, linux/capability.h


def as_anybody() -> None:
    """What is read-only is so for root, too."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)


def refusal(folder: Path, output: Path, checkpoint: Path) -> str:
    (folder / "one.pdf").write_bytes(pdf_bytes())
    flags = f"--input {folder / 'one.pdf'} --output {output} --model {checkpoint} --question Total?"
    command = [sys.executable, "-m", "jobs.extract", *flags.split()]
    done = subprocess.run(
        command, cwd=ROOT, preexec_fn=as_anybody, capture_output=True, text=True, timeout=250
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that is read-only from the moment its test calls chmod on it; later pytest may remove it."""
    place = tmp_path / "place"
    place.mkdir()
    yield place
    for path in [place, *place.rglob("*")]:
        path.chmod(0o755)


def test_a_new_output_in_a_read_only_folder(tmp_path: Path, place: Path, tiny_checkpoint: Path) -> None:
    place.chmod(0o555)
    said = refusal(tmp_path, place / "out", tiny_checkpoint)
    assert said.startswith(f"error: cannot open the table {place}/out/answers/text: ")
    assert "ermission denied" in said


def test_an_output_that_has_become_read_only(tmp_path: Path, place: Path, tiny_checkpoint: Path) -> None:
    Committer(create_tables(str(place / "out"), None), "run").leave()
    for path in place.rglob("*"):
        path.chmod(path.stat().st_mode & ~0o222)
    said = refusal(tmp_path, place / "out", tiny_checkpoint)
    assert said.startswith(f"error: {place}/out/documents cannot be written: ")
    assert "ermission denied" in said
