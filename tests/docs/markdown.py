"""A page of the documentation in; its blocks of code and its commands between words out."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = re.compile(r"<!-- needs: (.+) -->")
COMMAND = re.compile(r"(?:\.venv/bin/)?python -m \S+ .*|make [a-z]+|ray job submit .*|\.venv/bin/\w+ .*")


@dataclass(frozen=True)
class Block:
    """A fenced block, or a command between words."""

    page: str  # its path from the root
    line: int
    language: str
    code: str
    needs: str | None = None  # what the marker says that the test has not
    words: str = ""  # what stands between the marker and the block
    prints: str | None = None  # the text block under it

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, a `text` block as what the one above it prints."""
    found: list[Block] = []
    words: list[str] = []
    needs, fence = None, None
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if fence is not None:
            if line != "```":
                fence[2].append(line)
                continue
            start, language, code = fence
            block = Block(
                str(page.relative_to(ROOT)), start, language, "\n".join(code), needs, " ".join(words).strip()
            )
            if language == "text":
                found[-1] = Block(**vars(found[-1]) | {"prints": block.code})
            else:
                found.append(block)
            fence, needs, words = None, None, []
        elif line.startswith("```"):
            fence = (number, line[3:], list[str]())
        elif marker := NEEDS.fullmatch(line):
            needs, words = marker[1], []
        else:
            words.append(line)
    assert fence is None, f"{page} ends within a block"
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks, which keep their lines."""
    return re.sub(
        r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), page.read_text(), flags=re.DOTALL | re.M
    )


def spans(page: Path) -> list[tuple[int, str]]:
    """What stands between backticks, with the number of its line."""
    lines = enumerate(prose(page).splitlines(), start=1)
    return [(number, text) for number, line in lines for text in re.findall(r"`([^`]+)`", line)]


def inline_commands(page: Path) -> list[Block]:
    """Whole commands between backticks, which nobody runs: they have to parse."""
    name = str(page.relative_to(ROOT))
    return [
        Block(name, number, "sh", text, needs="nothing: it is a mention")
        for number, text in spans(page)
        if COMMAND.fullmatch(text) and "OUT" not in text and "jobs.x" not in text
    ]
