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
