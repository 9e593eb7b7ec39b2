"""Extraction by a JSON Schema: DocuBench (2026) and ExtractBench (arXiv 2602.12247), as they are published.

In: DocuBench's folder with sources.json, documents/, schemas/ and labels/; ExtractBench's with NAME.gold.json
beside NAME.pdf, and a schema in the folder above. The schema is a part of the prompt. Documents that are no
pages (spreadsheets, HTML, text) are left out.
"""

import json
import os
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from jobs.evaluation.asked import Asked, Row, ask
from jobs.evaluation.datasets.family import Family
from jobs.evaluation.datasets.prompts import with_schema
from jobs.evaluation.datasets.rasterizing import PAGES, document_pictures

DRAWN = ("pdf", "png", "jpg", "jpeg", "tif", "tiff")
_ASK = (
    "Extract the document into the supplied JSON schema. Use only information present in the document. "
    "Return null for fields that are not printed or cannot be determined. Preserve table rows as arrays and "
    "preserve the document language for values. Document id: {id}."
)  # DocuBench's, of prompts/extraction_prompt.txt


def extraction(
    *,
    id: str,
    schema: Any,
    label: Any,
    pictures: Any,
    question: str,
    measures: tuple[str, ...],
    document: str,
) -> Asked:
    """The question of one document, for all its fields."""
    return Asked(
        id=id,
        turns=ask(with_schema(question, schema), *pictures),
        question=question,
        answers=(json.dumps(label, ensure_ascii=False),),
        measures=measures,
        facts={"schema": schema},
        document=document,
    )


def _docubench(row: Row, name: str) -> Iterator[Asked]:
    id, kind = str(row["doc_id"]), str(row["ftype"])
    if kind not in DRAWN:
        return
    folder = row["folder"]
    yield extraction(
        id=id,
        schema=_json(folder, f"schemas/{id}.json"),
        label=_json(folder, f"labels/{id}.json"),
        pictures=document_pictures(folder, f"documents/{id}.{kind}", PAGES),
        question=_ASK.format(id=id),
        measures=("docubench", "field_f1", "value_f1"),
        document=id,
    )


def _extractbench(row: Row, name: str) -> Iterator[Asked]:
    """`name` is DOMAIN/SCHEMA/pdf+gold/DOCUMENT.gold-0."""
    path = PurePath(name.removesuffix("-0").removesuffix(".gold"))
    above = os.path.dirname(row["folder"])
    id = f"{os.path.basename(above)}/{path.name}"
    label = {key: value for key, value in row.items() if key != "folder"}
    schema = _json(above, f"{os.path.basename(above)}-schema.json")
    yield extraction(
        id=id,
        schema=schema.get("schema_definition", schema),  # that of resumes lies in an object with a name
        label=label,
        pictures=document_pictures(row["folder"], f"{path.name}.pdf", PAGES),
        question=_ASK.format(id=path.name),
        measures=(
            "extractbench_f1",
            "extractbench_unjudged_f1",
            "extractbench_pass_rate",
            "extractbench_score",
            "field_f1",
            "value_f1",
        ),
        document=id,
    )


def _json(folder: str, name: str) -> Any:
    place = os.path.join(folder, name)
    try:
        with open(place, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise ValueError(f"{place} of the data set cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{place} is not JSON, or not whole: {error}") from error


FAMILIES = (
    Family(
        name="docubench",
        hub="",
        files="sources.json",
        telling="sources.json",
        columns=("doc_id", "ftype", "pages", "lang"),
        ask=_docubench,
        max_new_tokens=4_096,
        rows=50,
        note="documents that are no pages are left out, only the first 20 pages are shown",
    ),
    Family(
        name="extractbench",
        hub="",
        files="*.gold.json",
        telling="*.gold.json",
        columns=(),
        ask=_extractbench,
        max_new_tokens=8_192,
        rows=35,
        note="only the first 20 pages are shown",
        judge="gemini-2.5-flash",
        unjudged="the values that ExtractBench has judged, all lists and most texts, are left out",
    ),
)
