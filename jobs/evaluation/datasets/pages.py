"""olmOCR-Bench (arXiv 2502.18443): pages are transcribed, and facts are looked for in the Markdown.

In: the folder of the benchmark: .jsonl files of facts, and pdfs/ with the documents that they name. The pages
are asked as `--target markdown` asks them, in one request for all facts of a page.
"""

from collections.abc import Iterator

from jobs.evaluation.asked import Asked, Row, ask
from jobs.evaluation.datasets.family import Family
from jobs.evaluation.datasets.rasterizing import page_picture
from pipeline.config import MARKDOWN_TOKENS
from pipeline.plan.prompts import markdown_prompt


def _fact(row: Row, name: str) -> Iterator[Asked]:
    fact = {key: value for key, value in row.items() if key not in ("pdf", "page", "id", "folder", "url")}
    page = int(row["page"])
    pdf = str(row["pdf"])
    said = {key: fact[key] for key in fact if key not in ("type", "checked", "max_diffs")}
    yield Asked(
        id=str(row["id"]),
        turns=ask(markdown_prompt(keep_headers=False), page_picture(row["folder"], f"pdfs/{pdf}", page)),
        question=f"{row['type']}: {', '.join(f'{key} {value!r}' for key, value in said.items())}",
        answers=(f"{row['type']} holds",),
        measures=("fact",),
        facts={"fact": fact},
        slices={"type": str(row["type"])},
        document=f"{pdf}, page {page}",
    )


FAMILIES = (
    Family(
        name="olmocr-bench",
        hub="allenai/olmOCR-bench",
        files="bench_data/*",
        columns=("pdf", "page", "id", "type"),
        ask=_fact,
        max_new_tokens=MARKDOWN_TOKENS,
        rows=7_010,
        note="formulas are compared as text, where the benchmark draws them with KaTeX",
    ),
)
