"""A page's Markdown as OmniDocBench's end-to-end task reads it: texts, formulas and tables in their order.

In: what a model wrote. Out: its blocks. Tables are HTML, also those with pipes; a table in LaTeX is counted as
one, and no more is made of it. Texts are what stands between blank lines.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_IMAGE: Final = re.compile(r"!\[.*?\]\(.*?\)")
_FENCE: Final = re.compile(r"^```(?:markdown|html|latex)\n?|```\n?$", re.MULTILINE)
_PAGE_TAG: Final = re.compile("</?(?:html|body)>")
_TABLE_TAG: Final = re.compile(r"<table[^>]*>|</table>")
_LATEX_TABLE: Final = re.compile(r"\\begin{(table|tabular)}.*?\\end{\1}", re.DOTALL)
_FORMULA: Final = re.compile(r"\$\$(.*?)\$\$|\\\[(.*?)\\\]", re.DOTALL)
_PIPES: Final = re.compile(r"(?:^[ \t]*\|.*\|[ \t]*(?:\n|\Z)){2,}", re.MULTILINE)
_RULE: Final = re.compile(r":?-+:?")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A piece of a page: "text", "formula", "table" (HTML) or "latex table"."""

    kind: str
    text: str
    start: int


def blocks_of(markdown: str) -> list[Block]:
    """The blocks, in their order."""
    text = _PAGE_TAG.sub("", re.sub(" {4,}", "    ", re.sub("_{4,}", "____", _IMAGE.sub("", markdown))))
    text = _FENCE.sub("", text)
    found: list[Block] = []

    def take(kind: str, start: int, end: int, said: str) -> None:
        nonlocal text
        found.append(Block(kind=kind, text=said, start=start))
        text = text[:start] + " " * (end - start) + text[end:]

    for match in list(_LATEX_TABLE.finditer(text)):
        take("latex table", *match.span(), match[0])
    for start, end in list(_tables(text)):
        take("table", start, end, text[start:end])
    for match in list(_FORMULA.finditer(text)):
        if match[0].strip("$\\[] \n"):
            take("formula", *match.span(), match[1] or match[2])
    for match in list(_PIPES.finditer(text)):
        take("table", *match.span(), _html(match[0]))
    place = 0
    for part in re.split(r"(\n\n)" if "\n\n" in text else r"(\n)", text):
        lines = [line.strip() for line in part.split("\n") if line.strip()]
        if lines:
            found.append(Block(kind="text", text="\n".join(lines), start=place))
        place += len(part)
    return sorted(found, key=lambda block: block.start)


def _tables(text: str) -> Iterator[tuple[int, int]]:
    """Where the outermost tables stand. Behind one that is not closed, those within it are outermost."""
    begin = 0
    while True:
        open_: list[int] = []
        for mark in _TABLE_TAG.finditer(text, begin):
            if mark[0] != "</table>":
                open_.append(mark.start())
            elif open_:
                start = open_.pop()
                if not open_:
                    yield start, mark.end()
        if not open_:
            return
        begin = open_[0] + 1


def _html(lines: str) -> str:
    rows = []
    for line in lines.strip().split("\n"):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        if not all(_RULE.fullmatch(cell) for cell in cells):
            rows.append("".join(f"<td>{html.escape(cell, quote=False)}</td>" for cell in cells))
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
