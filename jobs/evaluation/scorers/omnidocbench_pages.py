"""OmniDocBench's figures of a page's whole Markdown: tables, texts, the order of reading.

In: what a model wrote of a page, and the page's annotated blocks. Out: a score from 0.0 to 1.0 each. Tables are
paired with those of the page as by its repository (523fd1d), and scored by TEDS. Texts are paired one to one, so
that their edits are the fewest; its `quick_match` also joins and cuts texts before it pairs them, so figures of
texts and of their order are not comparable. Captions, headers, footers and formulas take part in the pairing
alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from jobs.evaluation.scorers.lists import assigned
from jobs.evaluation.scorers.omnidocbench import plain, table_similarity
from jobs.evaluation.scorers.omnidocbench_markdown import Block, blocks_of

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
    "equation_isolated",
)
FARTHEST: Final = 0.7  # edits over length: a pair beyond is none, as in quick_match

Annotated = Mapping[str, Any]
"""A block of a page: category_type; text, latex or html; order, or null."""


def page_tables(markdown: str, page: Sequence[Annotated]) -> list[float]:
    """TEDS of each table of the page. Without one in HTML, or with more in LaTeX, all are 0.0."""
    wanted = [str(block["html"]) for block in page if block["category_type"] == "table"]
    blocks = blocks_of(markdown)
    said = [block.text for block in blocks if block.kind == "table"]
    if sum(block.kind == "latex table" for block in blocks) > len(said):
        said = []
    pairs = _pairs(wanted, said)
    return [
        table_similarity(said[pairs[place]], one) if place in pairs else 0.0
        for place, one in enumerate(wanted)
    ]


def page_text(markdown: str, page: Sequence[Annotated]) -> float:
    """1 - edits / length, over all texts of the page; one that is paired with nothing is missed as a whole."""
    edits = length = 0
    for block, said in _read(markdown, page):
        if block["category_type"] in TEXTS:
            wanted, found = _letters(block), _plain(said) if said else ""
            edits += Levenshtein.distance(wanted, found)
            length += max(len(wanted), len(found))
    return 1.0 - edits / length if length else 1.0


def page_order(markdown: str, page: Sequence[Annotated]) -> float:
    """1 - edits / length, between the texts of the page in their order, and those found in the model's."""
    texts = [(block, said) for block, said in _read(markdown, page) if block["category_type"] in TEXTS]
    wanted = sorted(block["order"] for block, _ in texts if block["order"])
    found = [(said.start, block["order"]) for block, said in texts if said and block["order"]]
    said = [order for _, order in sorted(found)]
    longest = max(len(wanted), len(said))
    return 1.0 - Levenshtein.distance(wanted, said) / longest if longest else 1.0


def _read(markdown: str, page: Sequence[Annotated]) -> list[tuple[Annotated, Block | None]]:
    """The page's blocks but for tables, each with what was written of it."""
    wanted = [block for block in page if block["category_type"] in TEXTS + BESIDE and _letters(block)]
    said = [block for block in blocks_of(markdown) if block.kind in ("text", "formula") and _plain(block)]
    pairs = _pairs([_letters(block) for block in wanted], [_plain(block) for block in said], FARTHEST)
    return [(block, said[pairs[place]] if place in pairs else None) for place, block in enumerate(wanted)]


def _letters(block: Annotated) -> str:
    return plain(str(block.get("text") or block.get("latex") or ""))


def _plain(block: Block) -> str:
    return plain(block.text)


def _pairs(wanted: Sequence[str], said: Sequence[str], farthest: float = 1.0) -> dict[int, int]:
    """One to one, so that the sum of the distances is least: the places of what was said, by what is wanted."""
    if not wanted or not said:
        return {}
    edits = cdist(wanted, said, scorer=Levenshtein.distance, dtype=np.int32)
    lengths = np.maximum(np.array([len(one) for one in wanted])[:, None], [len(one) for one in said])
    distances = edits / np.maximum(1, lengths)
    if len(wanted) <= len(said):
        found = dict(enumerate(assigned(distances).tolist()))
    else:
        found = {row: column for column, row in enumerate(assigned(distances.T).tolist())}
    return {row: column for row, column in found.items() if distances[row, column] <= farthest}
