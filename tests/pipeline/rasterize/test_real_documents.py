"""Every file of a collection of real, odd and broken documents comes to the outcome that its index expects.

The collection lies beside the repository and is not part of it: without it these tests are skipped.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.rasterize.test_sandbox import children_of

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT.parent / "shared" / "pdfs"
INDEX = FOLDER / "INDEX.tsv"
SECONDS = 500  # it takes 6 on one core
AT_ONCE = 2

# Why a document of each category fails; of the other categories only that it does.
REASONS = {
    "password": {"needs_password"},
    "zero pages": {"zero_pages"},
    "page count error": {"damaged"},
    "page error": {"damaged_page"},
    "cannot open": {"damaged", "empty_file"},
    "img broken": {"damaged", "damaged_page"},
}
READ_SINCE = {"img heic"}  # the index was made when nothing opened these
# And when damage inside a PDF was silent: their only page does not exist.
DAMAGED_SINCE = {"format-corpus__T02-03_006_page-object-missing.pdf", "pikepdf__378014596.pdf"}

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not INDEX.exists(), reason=f"there is no collection of documents at {FOLDER}"),
]


def expectations() -> list[dict[str, str]]:
    if not INDEX.exists():
        return []
    with INDEX.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    """Of programs that read the collection at the same time: the same in each, and none leaks."""
    command = [sys.executable, "-m", "tests.pipeline.outcome", str(FOLDER)]
    programs = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(AT_ONCE)
    ]
    printed = []
    for program in programs:
        out, errors = program.communicate(timeout=SECONDS)
        assert (program.returncode, errors) == (0, ""), out[-500:]
        printed.append(out)
    assert len(set(printed)) == 1
    assert [child for program in programs for child in children_of(program.pid)] == []
    return {result["file"]: result for result in map(json.loads, printed[0].splitlines())}


@pytest.mark.parametrize("expected", expectations(), ids=lambda expected: expected["file"])
def test_a_real_document_comes_to_the_outcome_that_is_expected(
    expected: dict[str, str], outcomes: dict[str, dict[str, Any]]
) -> None:
    found = outcomes[expected["file"]]
    if expected["file"] in DAMAGED_SINCE:
        assert (found["drawn"], found["reasons"]) == (0, ["damaged_page"])
    elif expected["expect"] == "ok" or expected["category"] in READ_SINCE:
        assert found["pages"] == found["drawn"] == int(expected["pages"] or 1)
        assert found["reasons"] == []
    elif expected["expect"] == "partial":
        assert 0 < found["drawn"] < found["pages"] == int(expected["pages"])
    elif expected["expect"] == "error":
        assert found["drawn"] == 0
        assert found["reasons"]
    else:
        assert expected["expect"] == "either"
        assert bool(found["drawn"]) != bool(found["reasons"])
    if found["reasons"] and expected["category"] in REASONS:
        assert set(found["reasons"]) <= REASONS[expected["category"]]
