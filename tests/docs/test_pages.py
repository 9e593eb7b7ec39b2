"""The pages of the documentation hang together: links lead somewhere, names of files are right, sizes fit."""

import re
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, prose, spans

LINK = re.compile(r"\]\(([^)]+)\)")
IN_THE_TREE = re.compile(r"(?:jobs|pipeline|model|schemas|tests|samples|docs)/[\w./]*")


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    for line, text in spans(page):
        if IN_THE_TREE.fullmatch(text):
            assert (ROOT / text).exists(), f"{page}:{line}: there is no {text}"


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - set(LINK.findall(index)) == {"README.md"}


def test_the_documentation_stays_small() -> None:
    assert (ROOT / "README.md").stat().st_size <= 9_000
    assert sum(path.stat().st_size for path in (ROOT / "docs").rglob("*") if path.is_file()) < 2**20


def test_the_minutes_of_the_published_table_follow_from_the_measured_speed() -> None:
    """W1 and W3 differ in the length of their answers alone."""
    speeds = re.findall(r"^\| (W[134]) \| ([\d.]+) \|", prose(ROOT / "docs" / "performance.md"), re.MULTILINE)
    newest = {name: float(speed) for name, speed in reversed(speeds)}
    answer = (1 / newest["W3"] - 1 / newest["W1"]) / 240
    prompt = (1 / newest["W1"] - 16 * answer) / 3_220
    text = (ROOT / "docs" / "evaluation.md").read_text()
    rows = re.findall(r"([\d,]+) \| ([\d,]+), (\d+) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert len(rows) == 11
    whole = 0.0
    for row in rows:
        questions, said, written, minutes = (float(cell.replace(",", "")) for cell in row)
        seconds = questions * (said * prompt + written * answer)
        assert abs(seconds / 60 - minutes) <= 0.1, row
        whole += seconds / 3_600
    assert f"All of them are {whole:.1f} hours" in text
    assert f"this gives {1 / (1_958 * prompt + 128 * answer):.2f} charts" in text
    assert f"{newest['W4']} were measured" in text
