"""Extraction by a schema: scored as by DocuBench, read as it and ExtractBench are published."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.evaluation import loading
from jobs.evaluation.asked import Asked, ask
from jobs.evaluation.datasets.finding import find
from jobs.evaluation.measures import parsed, score_all
from jobs.evaluation.scorers.docubench import array_score, docubench
from jobs.evaluation.scorers.fields import Counts, field_f1
from tests.jobs.evaluation import kept, published
from tests.jobs.evaluation.test_datasets import asked, jsonl, parts
from tests.pipeline.drawn import pdf_bytes

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "total": {"type": "number"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
}
LABEL: dict[str, Any] = {"total": 12.5, "lines": [{"name": "Tea"}, {"name": "Cake"}]}


def test_scores_are_those_of_docubench() -> None:
    rows = kept.load("docubench")
    assert len(rows) > 50
    assert {0.0, 1.0} < {row["score"] for row in rows}
    for row in rows:
        score = docubench(row["said"], row["schema"], row["wanted"])
        assert score == pytest.approx(row["score"], abs=1e-9), row


@pytest.mark.parametrize(
    ("said", "score"),
    [
        (LABEL, 1.0),
        ({"total": 12.5000001, "lines": [{"name": "cake!"}, {"name": " TEA"}]}, 1.0),  # order, case, signs
        ({"total": 12, "lines": LABEL["lines"]}, 2 / 3),
        ({"total": "12.5", "lines": LABEL["lines"]}, 2 / 3),  # a text is no number
        ({"total": 12.5, "lines": [{"name": "Tea"}]}, 2 / 3),
        (
            {"total": 12.5, "lines": [*LABEL["lines"], {"name": "x"}, {"name": "y"}]},
            3 / 5,
        ),  # 1/2 of four items
        ({"other": 1}, 0.0),
    ],
)
def test_a_score_by_hand(said: Any, score: float) -> None:
    assert docubench(said, SCHEMA, LABEL) == pytest.approx(score)


def test_items_are_matched_greedily() -> None:
    """As by DocuBench's scorer, whose score of these items is 0.375. The best pairs would have 0.5."""
    right = [{"a": 1, "b": 1, "c": 1, "d": 1}, {"a": 7, "b": 7, "c": 1, "d": 2}]
    items = [{"a": 1, "b": 1, "c": 1, "d": 2}, {"a": 1, "b": 1, "c": 5, "d": 5}]
    assert array_score(items, right) == 0.375  # the first pair has 3 of 4: the second one is left with none
    assert field_f1(items, right).right == 4  # 2 of 4, twice
    assert array_score(right[::-1], right) == 1.0
    assert array_score([], []) == 1.0
    assert array_score([1], []) == 0.0


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "object", "properties": {}}, "names no field"),
        ({"type": "array", "items": {}}, "an array at its top"),
        (
            {"type": "object", "properties": {"a": {"anyOf": [{"type": "array"}]}}},
            r"an array at properties\.a\.anyOf",
        ),
    ],
)
def test_a_schema_that_cannot_be_scored_is_named(schema: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        docubench({}, schema, {})


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        (LABEL, Counts(right=3, given=3, wanted=3)),
        (
            {"total": "12.50", "lines": [{"name": "cake"}, {"name": "tea", "n": 1}]},
            Counts(right=3, given=4, wanted=3),
        ),
        ({"lines": [{"name": "milk"}]}, Counts(right=0, given=1, wanted=3)),
        ({"total": {"name": "tea"}}, Counts(right=0, given=1, wanted=3)),
        (None, Counts(right=0, given=0, wanted=3)),
    ],
)
def test_fields_are_counted_with_lists_in_any_order(said: Any, counts: Counts) -> None:
    assert field_f1(said, LABEL) == counts


def test_the_json_of_an_answer() -> None:
    assert parsed('Here:\n```json\n{"a": 1}\n```') == {"a": 1}
    assert parsed(' {"a": 1} ') == {"a": 1}
    assert parsed("a: 1") is None
    assert parsed("[" * 100_000) is None


def docubench_folder(folder: Path) -> Path:
    """DocuBench's layout, with two documents that are pages, and one that is none."""
    for name in ("documents", "schemas", "labels"):
        (folder / name).mkdir(parents=True)
    sources = []
    for id, kind in {"1ZVqiyJZ": "pdf", "vBIz5dut": "png", "ZN6HbuKp": "csv"}.items():
        data = {"pdf": pdf_bytes([(100, 200)] * 2), "png": published.png(), "csv": b"a,b\n"}[kind]
        (folder / "documents" / f"{id}.{kind}").write_bytes(data)
        (folder / "schemas" / f"{id}.json").write_text(json.dumps(SCHEMA))
        (folder / "labels" / f"{id}.json").write_text(json.dumps(LABEL))
        sources.append({"n": 1, "doc_id": id, "name": "x", "pages": 2, "lang": "en", "ftype": kind})
    (folder / "sources.json").write_text(json.dumps(sources))
    return folder


def test_docubench_is_read_as_it_is_published(tmp_path: Path) -> None:
    folder = docubench_folder(tmp_path)
    for place in (folder, folder / "sources.json"):
        pdf, png = asked(place)
        assert (pdf.id, png.id) == ("1ZVqiyJZ", "vBIz5dut")
        assert parts(pdf)[:2] == [[512, 1024]] * 2
    assert str(parts(pdf)[-1]).startswith("Extract the document into the supplied JSON schema. Use only")
    assert json.dumps(SCHEMA) in str(parts(pdf)[-1])
    said = [f"```json\n{json.dumps(LABEL)}\n```", '{"total": 12.5}', "no JSON", "[1]"]
    scores = list(score_all((pdf, text) for text in said))
    assert [one["docubench"] for one in scores] == [1.0, pytest.approx(1 / 3), 0.0, 0.0]
    assert [one["field_f1"] for one in scores] == [1.0, 0.5, 0.0, 0.0]
    (folder / "labels" / "1ZVqiyJZ.json").unlink()
    with pytest.raises(ValueError, match=r"row sources-0 .*labels/1ZVqiyJZ.json.*cannot be read"):
        asked(folder)


def test_extractbench_is_read_as_it_is_published(tmp_path: Path) -> None:
    folder = tmp_path / "dataset" / "finance" / "10kq"
    (folder / "pdf+gold").mkdir(parents=True)
    (folder / "10kq-schema.json").write_text(json.dumps(SCHEMA))
    (folder / "pdf+gold" / "adp.fy2025.pdf").write_bytes(pdf_bytes([(100, 200)]))
    (folder / "pdf+gold" / "adp.fy2025.gold.json").write_text(json.dumps(LABEL))
    (one,) = asked(tmp_path / "dataset")
    assert (one.id, one.measures[:2]) == ("10kq/adp.fy2025", ("extractbench_f1", "extractbench_unjudged_f1"))
    assert json.loads(one.answers[0]) == LABEL
    found = find(str(tmp_path / "dataset"))
    (alone,) = loading.questions(found, style="short", measures=(), limit=None)
    assert next(score_all([(alone, json.dumps(LABEL))])) == {
        "extractbench_unjudged_f1": 1.0,
        "field_f1": 1.0,
        "value_f1": 1.0,
    }
    assert "without a judge: the values that ExtractBench has judged" in str(loading.note(found, 35))
    assert "published figures by gemini-2.5-flash" in str(loading.note(found, 35, "another"))


def test_the_schema_of_resumes_lies_in_an_object_with_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "resume"
    (folder / "pdf+gold").mkdir(parents=True)
    (folder / "resume-schema.json").write_text(json.dumps({"name": "Resume", "schema_definition": SCHEMA}))
    (folder / "pdf+gold" / "a.pdf").write_bytes(pdf_bytes([(100, 200)]))
    (folder / "pdf+gold" / "a.gold.json").write_text(json.dumps(LABEL))
    (one,) = asked(tmp_path)
    assert one.facts["schema"] == SCHEMA
    assert "schema_definition" not in str(one.turns)


def test_a_row_of_ones_own_may_bring_a_schema(tmp_path: Path) -> None:
    (tmp_path / "x.pdf").write_bytes(pdf_bytes([(100, 100), (100, 200)]))
    row = {"question": "All fields.", "document": "x.pdf", "schema": SCHEMA, "answer": LABEL}
    (one,) = asked(jsonl(tmp_path, row | {"metric": ["docubench", "field_f1"]}))
    assert [part for part in parts(one) if isinstance(part, list)] == [[1024, 1024], [512, 1024]]
    assert next(score_all([(one, json.dumps(LABEL))])) == {"docubench": 1.0, "field_f1": 1.0}
    with pytest.raises(ValueError, match="its schema is not JSON"):
        asked(jsonl(tmp_path, row | {"schema": "{"}))


DEEP = "[" * 800 + "]" * 800


@pytest.mark.parametrize("measure", ["docubench", "field_f1", "value_f1"])
@pytest.mark.parametrize("total", ["1" * 400, '"1e9999999"', DEEP], ids=["long", "large", "deep"])
def test_what_a_model_in_a_loop_writes_is_wrong_and_no_more(measure: str, total: str) -> None:
    one = Asked(
        id="a",
        turns=ask("Total?"),
        question="Total?",
        answers=('{"total": 1}',),
        measures=(measure,),
        facts={"schema": {"type": "object", "properties": {"total": {"type": "number"}}}},
    )
    assert list(score_all([(one, f'{{"total": {total}}}')])) == [{measure: 0.0}]
