"""Tables as grids: which cell stands beside which, where cells span rows and columns.

In: a text with tables in Markdown or HTML. Out: the cells of each table. Nothing is scored here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobs.evaluation.scorers.teds import Node, html_tables

_STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
MAX_SPAN = 1_000


@dataclass(kw_only=True, eq=False)
class Cell:
    """A cell, with those beside it."""

    text: str
    is_heading: bool
    _beside: dict[str, list["Cell"]] = field(default_factory=dict)

    def beside(self, where: str) -> list["Cell"]:
        """The cells up, down, left or right of it.

        Or, as top_heading and left_heading, those in that direction that are headings; if none is, the last.
        """
        if where in _STEPS:
            return self._beside.get(where, [])
        way = "up" if where == "top_heading" else "left"
        seen: dict[int, Cell] = {}
        waiting = [self]
        while waiting:
            cell = waiting.pop()
            if id(cell) not in seen:
                seen[id(cell)] = cell
                waiting += cell.beside(way)
        others = [cell for cell in seen.values() if cell is not self]
        return [cell for cell in others if cell.is_heading] or [
            cell for cell in others if not cell.beside(way)
        ]


def grids(text: str, *, markdown: bool = True) -> Iterator[list[Cell]]:
    """The cells of each table of a text, the empty tables left out."""
    if markdown:
        for rows in _markdown_tables(text):
            spans = [
                [(cell, 1, 1, not at or not line) for at, cell in enumerate(row)]
                for line, row in enumerate(rows)
            ]
            if cells := _join(spans):
                yield cells
    for table in html_tables(text):
        if cells := _join([_row(row) for row in _rows(table)]):
            yield cells


_Spec = tuple[str, int, int, bool]  # text, rows, columns, whether it is a heading


def _rows(node: Node, heading: bool = False) -> Iterator[tuple[Node, bool]]:
    for child in node.children:
        if child.tag == "tr":
            yield child, heading
        else:
            yield from _rows(child, heading or child.tag == "thead")


def _row(row: tuple[Node, bool]) -> list[_Spec]:
    node, heading = row
    return [
        (
            cell.text.strip(),
            min(MAX_SPAN, max(1, cell.rowspan)),
            min(MAX_SPAN, max(1, cell.colspan)),
            heading or cell.is_header,
        )
        for cell in node.children
    ]


def _join(rows: list[list[_Spec]]) -> list[Cell]:
    """The cells in their places, each with its neighbours."""
    places: dict[tuple[int, int], Cell] = {}
    cells: list[tuple[Cell, list[tuple[int, int]]]] = []
    for line, row in enumerate(rows):
        at = 0
        for text, tall, wide, heading in row:
            while (line, at) in places:
                at += 1
            cell = Cell(text=text, is_heading=heading)
            covered = [(line + down, at + right) for down in range(tall) for right in range(wide)]
            places |= dict.fromkeys(covered, cell)
            cells.append((cell, covered))
            at += wide
    for cell, covered in cells:
        for name, (down, right) in _STEPS.items():
            near = (places.get((line + down, at + right)) for line, at in covered)
            cell._beside[name] = [other for other in near if other is not None and other is not cell]
    return [cell for cell, _ in cells]


def _markdown_tables(text: str) -> Iterator[list[list[str]]]:
    """The rows of each run of lines with bars, where there are two or more."""
    for block in re.findall(r"(?:^.*\|.*$\n?)+", text, re.MULTILINE):
        lines = [line.strip().removeprefix("|").removesuffix("|") for line in block.splitlines()]
        rows = [[cell.strip() for cell in line.split("|")] for line in lines]
        rows = [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
        if len(lines) >= 2 and rows:
            yield rows
