"""A row of `answers/markdown` in; the page with front matter, as a file or a report shows it, out."""

import json
from collections.abc import Mapping
from typing import Any


def page_markdown(row: Mapping[str, Any], model: str) -> str:
    """A page, behind a head in YAML: its document, its number, its confidence, and the model that read it.

    `row` has uri, page_first, confidence and answer. Strings are written as JSON's, which YAML's are.
    """
    head = {
        "uri": json.dumps(row["uri"], ensure_ascii=False),
        "page": row["page_first"],
        "confidence": f"{row['confidence']:.4g}",
        "model": json.dumps(model, ensure_ascii=False),
    }
    lines = ["---", *(f"{name}: {value}" for name, value in head.items()), "---", "", row["answer"]]
    return "\n".join(lines).rstrip("\n") + "\n"
