"""A page's Markdown as OmniDocBench's end-to-end task reads it: texts, formulas and tables.

In: what a model wrote. Out: its blocks, with the places at which its scorer (523fd1d) sees them. Tables are
HTML, also those with pipes, which it reads in a way of its own: it drops rows with a colon. A table in LaTeX
is counted as one, and no more is made of it. Texts are what stands between blank lines.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

_IMAGE: Final = re.compile(r"!\[.*?\]\(.*?\)")
_FENCES: Final = (r"^```markdown\n?", r"^```html\n?", r"^```latex\n?", r"```\n?$")
_PAGE_TAG: Final = re.compile("</?(?:html|body)>")
_TABLE_TAG: Final = re.compile(r"<table[^>]*>|</table>")
_LATEX_TABLE: Final = re.compile(r"\\begin{table}.*?\\end{table}", re.DOTALL)
_TABULAR_TAG: Final = re.compile(r"\\begin{tabular}|\\end{tabular}")
_FORMULA: Final = re.compile(r"\$\$(.*?)\$\$|\\\[(.*?)\\\]|\$(.*?)\$|\\\((.*?)\\\)", re.DOTALL)
_DELIMITED: Final = re.compile(r"\$\$(.*?)\$\$|\$(.*?)\$|\\\((.*?)\\\)", re.DOTALL)
_PIPES: Final = re.compile(r"(?:^[ \t]*\|.*\|[ \t]*(?:\n|\Z)){2,}", re.MULTILINE)
_RULE: Final = re.compile(r":?-+:?")
_COMMANDS: Final = (
    r"\\title\{(.*?)\}",
    r"(?s)\\title\s*\{\s*(.*?)\s*\}",
    r"(?s)\\text\s*\{\s*(.*?)\s*\}",
    r"\\section\*?\{(.*?)\}",
    r"(?s)\\section\*?\{\s*(.*?)\s*\}",
)
_ARRAY: Final = re.compile(r"\\begin\{array\}\{([^}]*)\}(.*?)\\end\{array\}", re.DOTALL)
_ORNAMENT: Final = re.compile(r"\s+|\||[@!]{[^}]*}")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A piece of a page: "text", "formula", "inline" (one in a text), "table" (HTML) or "latex table"."""

    kind: str
    text: str
    start: int


def blocks_of(markdown: str) -> list[Block]:
    """The blocks, in their order."""
    text = re.sub(" {4,}", "    ", re.sub("_{4,}", "____", _without_fences(_IMAGE.sub("", markdown))))
    text = _PAGE_TAG.sub("", text)
    found: list[Block] = []

    def take(kind: str, start: int, end: int, said: str) -> None:
        nonlocal text
        found.append(Block(kind=kind, text=said, start=start))
        text = text[:start] + " " * (end - start) + text[end:]

    for match in list(_LATEX_TABLE.finditer(text)):
        take("latex table", *match.span(), match[0])
    for start, end in list(_outermost(text, _TABULAR_TAG)):
        take(
            "latex table", start, min(end + 1, len(text)), text[start:end]
        )  # with a character behind it, as there
    for start, end in list(_outermost(text, _TABLE_TAG)):
        take("table", start, end, text[start:end])
    for match in list(_FORMULA.finditer(text)):
        line = " ".join(match[0].strip().split("\n"))
        inner = _DELIMITED.search(line)
        if inner is None:
            take("formula", *match.span(), line)
        elif inner[1]:
            take("formula", *match.span(), _DELIMITED.sub(r"\\[\1\\]", line))
        else:
            said = _DELIMITED.sub(r"\\[\2\3\\]", line)
            found.append(Block(kind="inline", text=said, start=match.start()))
    for match in list(_PIPES.finditer(text)):
        take("table", *match.span(), _html(match[0]))
    for command in _COMMANDS:
        text = re.sub(command, r"\1", text)
    return sorted([*found, *_texts(text)], key=lambda block: block.start)


def rows_of_array(block: Block) -> list[Block]:
    """A formula that is an array of one column is a formula for each of its rows."""
    lines, start = array_lines(block.text), 0
    if block.kind not in ("formula", "inline") or lines is None:
        return [block]
    match = _ARRAY.search(block.text)
    assert match is not None
    rows = []
    for line in lines:
        at = match[2].find(line, start)
        start = at + len(line)
        rows.append(replace(block, text=f"\\[{line}\\]", start=block.start + match.start(2) + at))
    return rows


def array_lines(formula: str) -> list[str] | None:
    """The rows of the first array in a formula; None if there is none, or it has several columns."""
    match = _ARRAY.search(formula)
    if match is None or _ORNAMENT.sub("", match[1]) not in ("l", "c", "r"):
        return None
    return [line.strip() for line in match[2].split("\\\\") if line.strip()]


def _without_fences(text: str) -> str:
    for fence in _FENCES:
        text = re.sub(fence, "", text, flags=re.MULTILINE)
    return text


def _texts(text: str) -> Iterator[Block]:
    """What stands between blank lines, or on lines without any. Places do not count what parts them."""
    place = 0
    for part in text.split("\n\n") if "\n\n" in text else text.split("\n"):
        said = "\n".join(line.strip() for line in part.split("\n") if line.strip())
        if said.startswith("<table") and said.endswith("</table>"):
            yield Block(kind="table", text=said, start=place)
        elif said.startswith("$") and said.endswith("$"):
            if said.replace("$", "").strip():
                yield Block(kind="formula", text=said, start=place)
        elif said:
            yield Block(kind="text", text=said, start=place)
        place += len(part)


def _outermost(text: str, tag: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Where tables stand that are in no other. One that is not closed is none."""
    open_: list[int] = []
    closed = []
    for mark in tag.finditer(text):
        if not mark[0].startswith(("</", "\\end")):
            open_.append(mark.start())
        elif open_:
            closed.append((open_.pop(), mark.end()))
    last = 0
    for start, end in sorted(closed):
        if start >= last:
            yield start, end
            last = end


def _html(lines: str) -> str:
    rows = []
    for line in lines.strip().split("\n"):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        if not all(_RULE.fullmatch(cell) for cell in cells):
            rows.append("".join(f"<td>{html.escape(cell, quote=False)}</td>" for cell in cells))
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
