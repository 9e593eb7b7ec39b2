"""The report of a run of jobs.extract: each answer beside its page, marked where the right one is known."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.evaluation.gold import Expected, Line, lines_of
from jobs.evaluation.report.items import Item
from jobs.evaluation.report.writing import write_run
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import is_of_answers, read_table

_ANSWERS = ("item_key", "uri", "page_first", "page_last", "question", "answer", "confidence", "fields")
_FAILURES = ("item_key", "uri", "page_first", "page_last", "question", "reason", "message")


def write_html(output: str, expected: Sequence[Expected]) -> str:
    """Writes OUT/report.html; returns its path. Raises ValueError if `output` holds no finished run."""
    record = read_record(output)
    root = output.rstrip("/")
    items: list[Item] = []
    pages: dict[str, tuple[str, int]] = {}
    for name, path in record["tables"].items():
        if not is_of_answers(name):
            continue
        for row in read_table(f"{root}/{path}", _ANSWERS).to_pylist():
            pages |= dict(_pages(row))
            items.append(_answered(row, expected))
    for row in read_table(f"{root}/{record['tables']['failures']}", _FAILURES).to_pylist():
        pages |= dict(_pages(row))
        items.append(_failed(row))
    items.sort(key=lambda one: (one.document, one.page or 0, one.question))
    places = sorted((place, key) for key, place in pages.items())
    return write_run(output, record, items, ((key, uri, page) for (uri, page), key in places))


def _pages(row: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, int]]]:
    """The keys and the places of a row's pages; of a document that could not be opened there are none."""
    for page in range(row["page_first"], row["page_last"] + 1) if row["page_first"] else ():
        yield f"{row['uri']}#{page}", (row["uri"], page)


def _answered(row: Mapping[str, Any], expected: Sequence[Expected]) -> Item:
    lines = list(lines_of([row]))
    labels = [(line, [one for one in expected if line.is_about(one)]) for line in lines]
    known = [(line, some) for line, some in labels if some]
    is_text = isinstance(row["answer"], str)
    boxes = {field["path"]: field["box"] for field in row["fields"]}
    return Item(
        id=row["item_key"],
        document=row["uri"],
        page=row["page_first"],
        question=row["question"],
        answer=row["answer"] if is_text else "\n".join(f"{line.what}: {line.answer}" for line in lines),
        accepted=tuple(
            text if is_text else f"{line.what}: {text}"
            for line, some in known
            for one in some
            for text in one.answers
        ),
        confidence=row["confidence"],
        score=_score(known),
        fields=() if is_text else tuple(_field(line, boxes.get(line.what)) for line in lines),
        pictures=tuple(key for key, _ in _pages(row)),
    )


def _score(known: Sequence[tuple[Line, list[Expected]]]) -> float | None:
    """The share of lines that are right, of those with a label."""
    right = [any(one.accepts(line.answer) for one in some) for line, some in known]
    return sum(right) / len(right) if right else None


def _field(line: Line, box: Mapping[str, float] | None) -> Mapping[str, Any]:
    found = {"path": line.what, "value": line.answer, "confidence": line.confidence}
    return found | ({"box": box} if box else {})


def _failed(row: Mapping[str, Any]) -> Item:
    return Item(
        id=row["item_key"],
        document=row["uri"],
        page=row["page_first"],
        question=row["question"],
        answer=None,
        reason=row["reason"],
        message=row["message"],
        pictures=tuple(key for key, _ in _pages(row)),
    )
