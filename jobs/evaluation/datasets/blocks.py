"""OmniDocBench (arXiv 2412.07626): pages as a whole, then texts and tables that are cut out of them.

In: its folder, with OmniDocBench.json and images/. A page is transcribed as Markdown, as in the end-to-end
task of its repository; each text is transcribed, and each table written as HTML, as in its component-level
tasks. The figures of formulas, which it draws with TeX, are left out.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.evaluation.asked import Asked, Picture, Row, ask
from jobs.evaluation.datasets.family import Family
from jobs.evaluation.datasets.prompts import OMNIDOCBENCH_PAGE, OMNIDOCBENCH_TABLE, OMNIDOCBENCH_TEXT
from jobs.evaluation.datasets.rasterizing import cut_picture
from jobs.evaluation.scorers.omnidocbench_pages import TEXTS, tables_of
from pipeline.config import MARKDOWN_TOKENS

KINDS = (  # blocks without a place are in this order
    "text_block title code_txt code_txt_caption reference equation_caption figure_caption figure_footnote "
    "table_caption table_footnote code_algorithm code_algorithm_caption header footer page_footnote "
    "page_number equation_isolated"
).split()
_FORMS = (
    ("text", OMNIDOCBENCH_TEXT, "omnidocbench_text"),
    ("html", OMNIDOCBENCH_TABLE, "omnidocbench_teds"),
)


def _blocks(row: Row, name: str) -> Iterator[Asked]:
    page: Mapping[str, Any] = row["page_info"]
    image = os.path.basename(page["image_path"])
    about = {key: str(page["page_attribute"][key]) for key in ("data_source", "language", "layout")}
    yield from _page(row, image, about)
    for number, block in enumerate(row["layout_dets"]):
        kind = str(block["category_type"])
        for key, prompt, measure in _FORMS:
            if not block.get(key) or (key == "html" and kind != "table"):
                continue
            box = _box(block["poly"])
            longest = max(int(page["width"]), int(page["height"]))
            yield Asked(
                id=f"{image.rpartition('.')[0]}-{number}-{key}",
                turns=ask(prompt, cut_picture(row["folder"], f"images/{image}", box, longest)),
                question=f"{kind.replace('_', ' ')} at {', '.join(f'{side:.0f}' for side in box)}",
                answers=(str(block[key]),),
                measures=(measure,),
                slices={"block": kind} | about,
                document=image,
            )


def _page(row: Row, image: str, about: Mapping[str, str]) -> Iterator[Asked]:
    """The whole page, unless there are neither texts nor tables on it."""
    blocks = page_blocks(row)
    measures = []
    if any(block["category_type"] in TEXTS and block["text"] for block in blocks):
        measures += ["omnidocbench_page_text", "omnidocbench_page_order"]
    if tables_of(blocks):
        measures.append("omnidocbench_page_teds")
    if measures:
        said = [block["html"] or block["text"] or block["latex"] for block in blocks]
        yield Asked(
            id=image.rpartition(".")[0],
            turns=ask(OMNIDOCBENCH_PAGE, Picture(path=f"images/{image}")),
            question="the whole page",
            answers=("\n\n".join(text for text in said if text),),
            measures=tuple(measures),
            facts={"blocks": blocks},
            slices={"block": "page", **about},
            document=image,
        )


def page_blocks(row: Row) -> list[dict[str, Any]]:
    """A page's blocks in their order; texts that run on in another block are one.

    Of three that do, the middle one is there twice, as in the benchmark's own evaluation.
    """
    runs: list[list[Any]] = []
    for relation in row["extra"]["relation"]:
        if relation["relation_type"] == "truncated":
            both = [relation["source_anno_id"], relation["target_anno_id"]]
            touching = [run for run in runs if not set(run).isdisjoint(both)]
            for run in touching:
                run += both
            runs += [] if touching else [both]
    parts = {id: block for block in row["layout_dets"] for id in [block.get("anno_id")] if id is not None}
    inside = {id for run in runs for id in run}
    found = [
        _annotated(one, one.get("text")) for one in row["layout_dets"] if one.get("anno_id") not in inside
    ]
    for run in runs:
        blocks = sorted((parts[id] for id in run), key=lambda block: block["order"])
        found.append(_annotated(blocks[0], "".join(block["text"] for block in blocks)))
    rank = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(found, key=lambda block: (block["order"] or 0, rank.get(block["category_type"], 0)))


def _annotated(block: Mapping[str, Any], text: str | None) -> dict[str, Any]:
    keys = ("category_type", "order", "html", "latex")
    return {key: block.get(key) for key in keys} | {"text": text}


def _box(poly: list[float]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of four corners, of which the first and the third count."""
    left, top, right, bottom = poly[0], poly[1], poly[2], poly[5]
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


FAMILIES = (
    Family(
        name="omnidocbench",
        hub="opendatalab/OmniDocBench",
        files="OmniDocBench.json",
        beside="images/*",
        telling="OmniDocBench*.json",
        columns=("layout_dets", "page_info", "extra"),
        ask=_blocks,
        max_new_tokens=MARKDOWN_TOKENS,
        rows=1_355,
        note="pages and texts are asked for in our words; without formulas",
    ),
)
