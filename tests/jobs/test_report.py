"""The report's parts: what counts as right, what --expected may hold. The job's tests print whole reports."""

import io
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jobs import report
from jobs.evaluation.gold import Expected, Line, conflicts_of, counts_of, is_right, lines_of, load_expected
from jobs.evaluation.scorers.fields import Counts
from pipeline.commit.manifest import write_record
from pipeline.commit.tables import create_tables
from schemas.arrow import to_table
from schemas.rows import Answer, Failure
from tests.pipeline.drawn import corner_image, image_bytes
from tests.pipeline.stored import answer, failure, show


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [
        ("Harbour  office Ltd", ["harbour Office ltd"], True),
        ("Harbour", ["Harbour Ltd"], False),
        ("880.08", ["£880.08", "880.080"], True),
        ("1,234.50", ["1234.5"], True),
        ("12,34", ["1234"], False),
        ("0.5", [".50"], True),
        ("-3", ["3"], False),
        ("nan", ["NaN"], True),  # as text
        ("7", ["8", "9"], False),
        ("true", ["True"], True),
    ],
)
def test_what_is_right(answer: str, accepted: list[str], right: bool) -> None:
    assert is_right(answer, accepted) is right


def shown(**changes: Any) -> Line:
    values: dict[str, Any] = {"uri": "/in/a/x.pdf", "page_first": 2, "page_last": 3, "what": "Total?"}
    return Line(**values | {"answer": "1", "confidence": 0.5} | changes)


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({}, True),
        ({"document": "a/x.pdf"}, True),
        ({"document": "/in/a/x.pdf"}, True),
        ({"document": "b/x.pdf"}, False),
        ({"document": ".pdf"}, False),
        ({"page": None}, True),
        ({"page": 1}, False),
        ({"question": "total?"}, False),
        ({"question": None, "field": "Total?"}, True),
    ],
)
def test_which_answer_an_expected_line_is_about(changes: dict[str, Any], matches: bool) -> None:
    values = {"document": "x.pdf", "page": 3, "question": "Total?", "answers": ["1"]}
    assert shown().is_about(Expected.model_validate(values | changes)) is matches


def test_fields_have_precision_and_recall() -> None:
    rows = {"total": "12.5", "date": "2024-05-01", "name": "null", "note": "x", "city": "null"}
    right = {"total": "12.50", "date": "1 May 2024", "name": "Ann", "note": "null", "city": "null"}
    matches = []
    for field, answers in right.items():
        entry = Expected(document="x.pdf", field=field, answers=[answers])
        lines = [Line(uri="x.pdf", page_first=1, page_last=1, what=field, answer=rows[field], confidence=1.0)]
        matches.append((entry, lines))
    question = Expected(document="x.pdf", question="When?", answers=["1 May 2024"])
    assert counts_of([*matches, (question, [])]) == Counts(right=2, given=3, wanted=3)
    assert not question.accepts("2024-05-01")  # what was asked for as text


def test_a_targets_answer_is_a_line_for_each_field() -> None:
    paths = ["total", "items[0].name", "items[1].name", "note", "tags"]
    answer = {
        "total": Decimal("12.50"),
        "items": [{"name": "tea"}, {"name": "Köfte"}],
        "note": None,
        "tags": [],
    }
    fields = [{"path": path, "confidence": 0.5} for path in paths]
    row = {
        "uri": "x.pdf",
        "page_first": 1,
        "page_last": 1,
        "question": "",
        "answer": answer,
        "fields": fields,
    }
    lines = list(lines_of([row]))
    assert [(line.what, line.answer) for line in lines] == list(
        zip(paths, ["12.50", "tea", "Köfte", "null", "[]"], strict=True)
    )


def test_a_merged_answer_has_its_pages_by_field_and_its_conflicts_apart() -> None:
    place = {"confidence": 0.5, "page_last": 8}
    row = {
        "uri": "x.pdf",
        "page_first": 1,
        "page_last": 30,
        "question": "",
        "answer": {"total": Decimal("12.50"), "number": "7"},
        "confidence": 0.5,
        "fields": [place | {"path": "total", "page_first": 5}, place | {"path": "number", "page_first": 8}],
        "conflicts": [place | {"path": "total", "page_first": 3, "answer": "12.00"}],
    }
    found = [(line.what, line.answer, line.page_first, line.page_last) for line in lines_of([row])]
    assert found == [("total", "12.50", 5, 8), ("number", "7", 8, 8)]
    (other,) = conflicts_of([row])
    assert (other.what, other.answer, other.page_first) == ("total", "12.00", 3)


def test_documents_of_one_name_are_told_apart() -> None:
    assert report.short_names({"/in/a/x.pdf", "/in/b/x.pdf", "/in/b/y.pdf"}) == {
        "/in/a/x.pdf": "a/x.pdf",
        "/in/b/x.pdf": "b/x.pdf",
        "/in/b/y.pdf": "y.pdf",
    }


def test_what_looks_like_markup_is_printed_as_it_is() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report.answers_table([shown(answer="[red]x[/nothing]")], []))
    assert "[red]x[/nothing]" in console.export_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("{", "line 1"),
        ('\n{"document": "a", "answers": ["1"]}', "line 2: give question or field"),
        ('{"document": "a", "question": "q", "field": "f", "answers": ["1"]}', "question or field"),
        ('{"document": "a", "question": "q", "answers": []}', "answers"),
        ('{"document": "a", "question": "q", "answers": ["1"], "pages": 1}', "pages"),
    ],
)
def test_a_wrong_file_of_expected_answers_is_refused(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "expected.jsonl"
    path.write_text(text)
    assert report.main([str(tmp_path), "--expected", str(path)]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_a_line_of_expected_answers_ends_at_a_line_feed_alone(tmp_path: Path) -> None:
    path = tmp_path / "expected.jsonl"
    line = '{"document": "a", "question": "What\u2028is\x85it?", "answers": ["1"]}'
    path.write_bytes(f"\ufeff{line}\r\n\n{line}".encode())
    assert [entry.question for entry in load_expected(path)] == ["What\u2028is\x85it?"] * 2


def test_an_output_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path / "nothing")]) == 2
    assert "holds no finished run" in capsys.readouterr().err


def test_a_report_shows_the_pages_as_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = create_tables(str(tmp_path), "markdown")
    rows = [
        answer(f"{page}", f"# Page {page}\n\n[/b] text").model_copy(
            update={"page_first": page, "page_last": page}
        )
        for page in range(report.MAX_PAGES + 2, 0, -1)
    ]
    show(tables, tables["answers"], to_table(Answer, rows))
    counts = {"documents": 1, "complete": 1, "partial": 0, "failed_documents": 0, "expected": 22}
    record = {
        "finished_at": "now",
        "config": {"model": "nano"},
        "tables": {"answers": "answers/markdown", "failures": "failures", "documents": "documents"},
        "counts": counts | {"answered": 22, "failed": 0},
        "timings": {"run_seconds": 1},
        "reused": {"documents": 0},
    }
    write_record(str(tmp_path), record)
    assert report.main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    head = '---\nuri: "/docs/a.pdf"\npage: 1\nconfidence: 0.5\nmodel: "nano"\n---\n\n# Page 1\n\n[/b] text\n'
    assert printed.startswith(head)
    assert "page: 20\n" in printed
    assert "page: 21\n" not in printed
    assert "... and 2 more pages" in printed


def test_the_html_report_of_a_run_shows_pages_and_says_which_it_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "out", tmp_path / "a.png"
    page.write_bytes(image_bytes(corner_image(), "PNG"))
    tables = create_tables(str(out), None)
    rows = [
        answer("1", "</script> 42").model_copy(update={"uri": str(page)}),
        answer("2", "43").model_copy(update={"uri": str(tmp_path / "gone.png")}),
    ]
    show(tables, tables["answers"], to_table(Answer, rows))
    show(tables, tables["failures"], to_table(Failure, [failure("3")]))
    counts = {"documents": 3, "complete": 2, "partial": 0, "failed_documents": 1, "expected": 3}
    record = {
        "run_id": "r",
        "finished_at": "2026-01-02T03:04:05",
        "config": {"model": "nano"},
        "tables": {"answers": "answers/text", "failures": "failures", "documents": "documents"},
        "counts": counts | {"answered": 2, "failed": 1},
    }
    write_record(str(out), record)
    expected = tmp_path / "expected.jsonl"
    expected.write_text('{"document": "a.png", "question": "How many?", "answers": ["</script> 42"]}')
    assert report.main([str(out), "--html", "--expected", str(expected)]) == 0
    assert capsys.readouterr().out.strip() == f"{out}/report.html"
    written = (out / "report.html").read_text()
    data = re.search(r'id="data">(.*?)</script>', written)
    assert data is not None
    items = {one["id"]: one for one in json.loads(data[1])}
    assert (items["1"]["a"], items["1"]["s"], items["1"]["ok"]) == ("</script> 42", 1.0, ["</script> 42"])
    assert "s" not in items["2"]
    assert (items["3"]["r"], "a" in items["3"]) == ("needs_password", False)
    assert re.findall('<script type="text/plain" data-picture="(.*?)"', written) == [f"{page}#1"]
    assert "1 page picture could not be drawn" in written
    assert f"{tmp_path}/gone.png cannot be read: No such file or directory" in written
