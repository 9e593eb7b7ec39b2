"""OmniDocBench's figures of a page's whole Markdown: tables, texts, the order of reading.

In: what a model wrote of a page, and the page's annotated blocks. Out: a score from 0.0 to 1.0 each, as by
the end-to-end task of its repository (523fd1d) with `quick_match`. Formulas, which it draws with TeX, take
part in the matching alone, as captions, headers and footers do.
"""

import html
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rapidfuzz.distance import Levenshtein

from jobs.evaluation.scorers.omnidocbench import plain, table_similarity, unicode_of
from jobs.evaluation.scorers.omnidocbench_formulas import plain_formula
from jobs.evaluation.scorers.omnidocbench_markdown import Block, array_lines, blocks_of, rows_of_array
from jobs.evaluation.scorers.omnidocbench_matching import SURE, distances, groups, pairs

TEXTS: Final = ("text_block", "title", "code_txt", "code_txt_caption", "reference")
BESIDE: Final = (
    "equation_caption",
    "figure_caption",
    "figure_footnote",
    "table_caption",
    "table_footnote",
    "code_algorithm",
    "code_algorithm_caption",
    "header",
    "footer",
    "page_footnote",
    "page_number",
)
FORMULA: Final = "equation_isolated"
# That are read of a page: a model in a loop writes more, and the benchmark's scorer gives up after 30 s.
MAX_BLOCKS: Final = 500
_CELL: Final = re.compile(r"<td[^>]*>(?:<[^/>]+>)*([^<]+)(?:</[^>]+>)*</td>")

Annotated = Mapping[str, Any]
"""A block of a page: category_type; text, latex or html; order, or null."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Texts of a page, and what a model wrote of them."""

    category: str
    wanted: str
    said: str
    orders: tuple[float, ...]
    start: int | None
    """Where the model wrote it; None: nowhere."""


def page_tables(markdown: str, page: Sequence[Annotated]) -> list[float]:
    """TEDS of each table of the page. Where none was written in HTML, or more in LaTeX, all are 0.0."""
    wanted = tables_of(page)
    blocks = blocks_of(markdown)
    said = _said_tables(blocks)
    column_of = pairs(distances(wanted, said))
    return [
        table_similarity(said[column_of[row]], one) if row in column_of else 0.0
        for row, one in enumerate(wanted)
    ]


def page_text(markdown: str, page: Sequence[Annotated]) -> float:
    """1 - edits / length, over all texts of the page; one with nothing beside it is missed as a whole."""
    edits = length = 0
    for one in paired(markdown, page):
        edits += Levenshtein.distance(one.wanted, one.said)
        length += max(len(one.wanted), len(one.said))
    return 1.0 - edits / length if length else 1.0


def page_order(markdown: str, page: Sequence[Annotated]) -> float:
    """1 - edits / length, between the texts of the page in their order, and in that of the model."""
    texts = [one for one in paired(markdown, page) if one.category != FORMULA]
    wanted = sorted(order for one in texts for order in one.orders)
    placed = sorted((one for one in texts if one.start is not None), key=lambda one: one.start or 0)
    said = [order for one in placed for order in one.orders]
    longest = max(len(wanted), len(said))
    return 1.0 - Levenshtein.distance(wanted, said) / longest if longest else 1.0


def paired(markdown: str, page: Sequence[Annotated]) -> list[Paired]:
    """The texts of the page with what was written of them; and formulas that were written as text."""
    blocks = blocks_of(markdown)
    kinds = (*TEXTS, *BESIDE, FORMULA)
    annotated = [one for block in page if block["category_type"] in kinds for one in _split(block)]
    said = _said(blocks, tables_of(page))[:MAX_BLOCKS]
    # As there: what has no letters is left out of the texts alone, and shifts the blocks behind it.
    written = [letters for block in said if (letters := _letters_of(block))]
    wanted = [(block, letters) for block in annotated if (letters := _letters(block))]
    beside = [letters for block, letters in wanted if block["category_type"] in BESIDE]
    texts = [
        (place, letters)
        for place, (block, letters) in enumerate(wanted)
        if block["category_type"] not in BESIDE
    ]
    if len(wanted) == 1 and len(written) == 1:
        open_ = [0]
    else:
        taken = set(np.flatnonzero((distances(beside, written) < SURE).any(axis=0)).tolist())
        open_ = [place for place in range(len(written)) if place not in taken]
    found = []
    lines = [written[place] for place in open_]
    for rows, columns in groups([letters for _, letters in texts], lines):
        parts = [annotated[texts[row][0]] for row in rows]
        category = Counter(wanted[texts[row][0]][0]["category_type"] for row in rows).most_common(1)[0][0]
        first = said[open_[columns[0]]] if columns else None
        one = Paired(
            category=category,
            wanted="".join(texts[row][1] for row in rows),
            said="".join(lines[column] for column in columns),
            orders=tuple(part["order"] for part in parts if part.get("order")),
            start=first.start if first else None,
        )
        if category != FORMULA:
            found.append(one)
        elif first is not None and first.kind not in ("formula", "inline"):
            found.append(_as_text(one, [_written(wanted[texts[row][0]][0]) for row in rows]))
    return found


def _as_text(one: Paired, parts: Sequence[str]) -> Paired:
    """A formula that was written as text is compared as such."""
    latex = parts[0]
    if len(parts) > 1:
        rows = " \\\\ ".join("{" + part.strip("$").strip("\n") + "}" for part in parts)
        latex = f"\\begin{{array}}{{l}} {rows} \\end{{array}}"
    text = unicode_of(latex) or ""
    return Paired(category=FORMULA, wanted=plain(text) or text, said=one.said, orders=(), start=None)


def tables_of(page: Sequence[Annotated]) -> list[str]:
    """The page's tables in HTML."""
    return [str(block["html"]) for block in page if block["category_type"] == "table" and block.get("html")]


def _said_tables(blocks: Sequence[Block]) -> list[str]:
    said = [block.text for block in blocks if block.kind == "table"]
    return said if sum(block.kind == "latex table" for block in blocks) <= len(said) else []


def _said(blocks: Sequence[Block], tables: Sequence[str]) -> list[Block]:
    """Texts and formulas in the order of the matching: formulas within texts last.

    The cells of tables that the page does not have are texts.
    """
    some = [block for block in blocks if block.kind in ("text", "formula", "inline")]
    # Of two at the same place, as there: the kind first that comes first on the page.
    text_is_first = bool(some) and some[0].kind == "text"
    some.sort(key=lambda block: (block.kind == "text") != text_is_first)
    if tables and (said := _said_tables(blocks)):
        known = set(pairs(distances(tables, said)).values())
        boxes = [block for block in blocks if block.kind == "table"]
        for number, box in enumerate(boxes):
            if number not in known:
                some += [
                    Block(
                        kind="text", text=html.unescape(cell).replace(r"$\cdot$", "").strip(), start=box.start
                    )
                    for cell in _CELL.findall(box.text)
                ]
    ordered = sorted(some, key=lambda block: (block.kind == "inline", block.start))
    return [row for block in ordered for row in rows_of_array(block)]


def _split(block: Annotated) -> Iterator[Annotated]:
    lines = array_lines(str(block.get("latex") or "")) if block["category_type"] == FORMULA else None
    if lines is None:
        yield block
        return
    for number, line in enumerate(lines, 1):
        yield {**block, "latex": f"\\[{line}\\]", "order": round(float(block["order"]) + number / 10, 1)}


def _written(block: Annotated) -> str:
    return str(block["latex"] if block["category_type"] == FORMULA else block["text"])


def _letters(block: Annotated) -> str:
    return plain_formula(_written(block)) if block["category_type"] == FORMULA else plain(_written(block))


def _letters_of(block: Block) -> str:
    return plain(block.text) if block.kind == "text" else plain_formula(block.text)
