"""TEDS: the similarity of two tables by their trees' edit distance (Zhong et al. 2020, arXiv 1911.10683).

In: two tables in HTML, or two texts with Markdown tables. Out: a score from 0.0 to 1.0. The tree is the
table's own (table, thead, tbody, tr, td); a cell's text counts by its own edit distance, unless structure
alone is asked for.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from jobs.evaluation.scorers.tree_edits import Floats, Ints, edit_cost, steps

MAX_CELLS = 2_000  # of one table: the time grows with the square of the nodes at least
MOST_DIGITS = 9  # of a span: a model in a loop writes more than Python reads
_TAGS = ("table", "thead", "tbody", "tfoot", "tr", "td", "th")


@dataclass(kw_only=True)
class Node:
    """A table, a part of one, a row or a cell."""

    tag: str
    colspan: int = 1
    rowspan: int = 1
    text: str = ""
    is_header: bool = False
    """A th, which counts as a td."""
    inner: int = 0
    """Nodes within a cell, which lie in its text, where these count."""
    children: list["Node"] = field(default_factory=list)

    def count(self) -> int:
        """Nodes of the tree, but for its root, as the authors count them."""
        return self.inner + sum(1 + child.count() for child in self.children)


def teds(prediction: str, answer: str, *, structure_only: bool = False) -> float:
    """The similarity of the first table of each text; 0.0 where the prediction has none.

    Raises ValueError: the right answer holds no table, or more than MAX_CELLS cells.
    """
    wanted, said = first_table(answer), first_table(prediction)
    if wanted is None:
        raise ValueError(f"the right answer holds no table: {answer[:80]!r}")
    return similar_trees(said, wanted, structure_only=structure_only)


def similar_trees(said: Node | None, wanted: Node, *, structure_only: bool = False) -> float:
    """The similarity of two trees; 0.0 where none was said, or one of more than MAX_CELLS: a model in a loop.

    Raises ValueError: the right one has.
    """
    if wanted.count() > MAX_CELLS:
        raise ValueError(f"the right table has {wanted.count()} nodes, the limit of TEDS is {MAX_CELLS}")
    if said is None:
        return 0.0
    try:
        if said.count() > MAX_CELLS:
            return 0.0
        longest = max(wanted.count(), said.count())
    except RecursionError:  # a thousand tags, each in the one before
        return 0.0
    # Read from right to left, trees have the same edits: it is slow only where the deeper side comes last.
    readings = [(_postorder(said, step), _postorder(wanted, step)) for step in (1, -1)]
    (nodes, lefts), (others, other_lefts) = min(readings, key=lambda pair: steps(pair[0][1], pair[1][1]))
    cost = edit_cost(lefts, other_lefts, _renames(nodes, others, structure_only=structure_only))
    return max(0.0, 1.0 - cost / longest) if longest else 1.0


def first_table(text: str) -> Node | None:
    """The first table of a text, in HTML or in Markdown."""
    if re.search(r"<table\b", text, re.IGNORECASE):
        return next(iter(html_tables(text)), None)
    rows = _markdown_rows(text)
    return _from_rows(rows) if rows else None


def html_tables(text: str) -> list[Node]:
    """All tables in HTML that do not lie in another one."""
    parser = _Tables()
    parser.feed(text)
    parser.close()
    return parser.tables


def _postorder(tree: Node, step: int) -> tuple[list[Node], Ints]:
    """The nodes, children before their parent, and the first leaf below each; step -1: from right to left."""
    nodes: list[Node] = []
    lefts: list[int] = []
    open_: list[tuple[Node, int]] = [(tree, -1)]
    while open_:
        node, left = open_.pop()
        if left < 0 and node.children:
            open_.append((node, len(nodes)))
            open_.extend((child, -1) for child in node.children[::-step])
        else:
            lefts.append(left if node.children else len(nodes))
            nodes.append(node)
    return nodes, np.array(lefts)


def _renames(said: Sequence[Node], wanted: Sequence[Node], *, structure_only: bool) -> Floats:
    """What it costs to make one node of another: of cells that differ in their text alone, what that does."""
    kinds: dict[tuple[str, int, int], int] = {}
    numbers = [
        np.array([kinds.setdefault((node.tag, node.colspan, node.rowspan), len(kinds)) for node in nodes])
        for nodes in (said, wanted)
    ]
    costs: Floats = (numbers[0][:, None] != numbers[1]).astype(np.float64)
    cells = [[place for place, node in enumerate(nodes) if node.tag == "td"] for nodes in (said, wanted)]
    if structure_only or not all(cells):
        return costs
    texts = [
        [nodes[place].text for place in places] for nodes, places in zip((said, wanted), cells, strict=True)
    ]
    edits = cdist(*texts, scorer=Levenshtein.distance, dtype=np.int32)
    lengths = [np.array([len(text) for text in some]) for some in texts]
    between = edits / np.maximum(1, np.maximum(lengths[0][:, None], lengths[1]))
    here = np.ix_(*cells)
    costs[here] = np.maximum(costs[here], between)
    return costs


class _Tables(HTMLParser):
    """The tables that do not lie in another one; a header cell counts as a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[Node] = []
        self._open: list[Node] = []
        self._inside = 0  # tables within a cell: they are text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _TAGS:
            return
        if tag == "table" and self._open:
            self._inside += 1
        if self._inside:
            return
        if tag == "table":
            node = Node(tag="table")
            self.tables.append(node)
        elif not self._open:
            return
        else:
            self._close_before(tag)
            spans = dict(attrs)
            node = Node(
                tag="td" if tag == "th" else tag,
                is_header=tag == "th",
                colspan=_number(spans.get("colspan")),
                rowspan=_number(spans.get("rowspan")),
            )
            self._open[-1].children.append(node)
        self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag == "table" and self._inside:
            self._inside -= 1
            return
        tag = "td" if tag == "th" else tag
        if self._inside or tag not in [node.tag for node in self._open]:
            return
        while self._open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1].tag == "td":
            self._open[-1].text += data

    def _close_before(self, tag: str) -> None:
        """HTML may leave end tags of cells and rows out."""
        ends = (
            ("td",)
            if tag in ("td", "th")
            else ("td", "tr")
            if tag == "tr"
            else ("td", "tr", "thead", "tbody")
        )
        while len(self._open) > 1 and self._open[-1].tag in ends:
            self._open.pop()


def _number(value: str | None) -> int:
    return int(value) if value and value.isdecimal() and len(value) <= MOST_DIGITS else 1


def _markdown_rows(text: str) -> list[list[str]]:
    """The rows of the first Markdown table."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        line = line.strip()
        if not line.startswith("|"):
            if rows:
                break
            continue
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            rows.append(cells)
    return rows


def _from_rows(rows: list[list[str]]) -> Node:
    lines = [
        Node(tag="tr", children=[Node(tag="td", text=html.unescape(cell)) for cell in row]) for row in rows
    ]
    return Node(tag="table", children=lines)
