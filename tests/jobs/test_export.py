"""What a run has stored comes out as plain files, whole, and never over files that are there."""

import csv
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from jobs import export
from jobs.exports.destination import Destination
from jobs.exports.documents import Page, document_markdown, file_name
from jobs.exports.flat import BOM, FORMATS, flat, write_spreadsheet
from pipeline.commit.manifest import write_record
from pipeline.commit.tables import Table, create_tables, read_table
from schemas.arrow import from_json_text, to_table
from schemas.rows import Answer, Failure, answer_row
from schemas.targets import Receipt
from tests.pipeline.stored import RECEIPT, answer, failure, show


def finish(output: Path, tables: dict[str, Table]) -> None:
    root = tables["documents"].uri.removesuffix("documents")
    paths = {name: table.uri.removeprefix(root) for name, table in tables.items()}
    write_record(str(output), {"finished_at": "now", "config": {"model": "nano"}, "tables": paths})


@pytest.fixture
def receipts(tmp_path: Path) -> Path:
    """An output with two receipts and a failure."""
    tables = create_tables(str(tmp_path / "out"), Receipt)
    rows = [answer("a", RECEIPT, Receipt), answer("b", RECEIPT.model_copy(update={"items": []}), Receipt)]
    show(tables, tables["answers"], to_table(answer_row(Receipt), rows))
    show(tables, tables["failures"], to_table(Failure, [failure("c")]))
    finish(tmp_path / "out", tables)
    return tmp_path / "out"


def path_of(output: Path, suffix: str) -> Path:
    (found,) = (output / "export" / "answers").glob(f"Receipt-*.{suffix}")
    return found


def test_json_lines_hold_every_row_digit_by_digit(receipts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([str(receipts), "--format", "jsonl"]) == 0
    lines = [
        json.loads(line, parse_float=Decimal) for line in path_of(receipts, "jsonl").read_text().splitlines()
    ]
    assert sorted(line["item_key"] for line in lines) == ["a", "b"]
    first = next(line for line in lines if line["item_key"] == "a")
    assert first["answer"] == {
        "merchant": "Köfte & Çay",
        "date": "2026-01-02",
        "items": [{"name": "tea", "amount": Decimal("1.50")}, {"name": "", "amount": Decimal("-0.25")}],
        "total": Decimal("1.25"),
    }
    assert first["answered_at"] == "2026-01-02T03:04:05.000678+00:00"
    assert (receipts / "export" / "documents.jsonl").read_text() == ""
    assert json.loads((receipts / "export" / "failures.jsonl").read_text())["reason"] == "needs_password"
    printed = capsys.readouterr().out
    assert "2 rows: " in printed
    assert str(path_of(receipts, "jsonl")) in printed


def test_csv_has_a_column_for_each_field_and_json_for_lists(receipts: Path) -> None:
    assert export.main([str(receipts), "--format", "csv", "--to", str(receipts / "export")]) == 0
    with path_of(receipts, "csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["item_key"])
    assert list(rows[0])[10:14] == ["crop.y1", "question_id", "question", "answer.merchant"]
    assert (rows[0]["answer.merchant"], rows[0]["answer.total"]) == ("Köfte & Çay", "1.25")
    assert rows[0]["answer.items"] == '[{"name":"tea","amount":1.50},{"name":"","amount":-0.25}]'
    assert (rows[1]["answer.items"], rows[0]["crop.x0"], rows[0]["page_first"]) == ("[]", "", "1")
    assert json.loads(rows[0]["fields"])[0]["path"] == "total"
    with (receipts / "export" / "documents.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 1


def test_parquet_is_the_table(receipts: Path) -> None:
    assert export.main([str(receipts), "--format", "parquet"]) == 0
    found = pq.read_table(path_of(receipts, "parquet"))
    (path,) = (receipts / "answers").iterdir()
    assert found.sort_by("item_key").to_pylist() == read_table(str(path)).sort_by("item_key").to_pylist()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "markdown"])
def test_files_that_are_there_stay(
    receipts: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pages(receipts)
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "mine.txt").write_text("mine")
    command = [str(receipts), "--format", kind, "--to", str(tmp_path / "to")]
    assert export.main(command) == 2
    said = capsys.readouterr().err
    assert "is not empty: choose another folder, or give --force" in said
    assert said.count("\n") == 1
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["mine.txt"]
    assert export.main([*command, "--force"]) == 0
    assert export.main([*command, "--force"]) == 0
    assert (tmp_path / "to" / "mine.txt").read_text() == "mine"
    assert len(list((tmp_path / "to").iterdir())) > 1
    assert not list((tmp_path / "to").rglob("*.new"))


def make_pages(output: Path) -> None:
    """Transcriptions in several files of the table, the last pages first."""
    tables = create_tables(str(output), "markdown")
    for uri, key, pages in (
        ("/in/x/a.pdf", "1111111122", (3, 1)),
        ("/in/y/A.PDF", "3333333344", (1,)),
        ("s3://b/in/b:ü?.png", "55", (1,)),
        ("/in/x/a.pdf", "1111111122", (4,)),
    ):
        rows = [
            answer(f"{key} {page}", f"# {uri} {page}\n\n| a |\n").model_copy(
                update={"uri": uri, "source_key": key, "page_first": page, "page_last": page}
            )
            for page in pages
        ]
        show(tables, tables["answers"], to_table(Answer, rows))
    failed = [
        failure("f").model_copy(
            update={"uri": uri, "source_key": key, "page_first": page, "page_last": page, "target": target}
        )
        for uri, key, page, target in (
            ("/in/x/a.pdf", "1111111122", 2, "markdown"),
            ("/in/x/a.pdf", "1111111122", 4, None),  # a question about a page
            ("/in/none.pdf", "66", 1, "markdown"),
            ("/in/closed.pdf", "77", None, "markdown"),
        )
    ]
    show(tables, tables["failures"], to_table(Failure, failed))
    finish(output, tables)


def test_a_document_is_a_file_with_its_pages_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pages(tmp_path)
    assert export.main([str(tmp_path), "--format", "markdown", "--to", str(tmp_path / "to")]) == 0
    assert "3 documents" in capsys.readouterr().out
    files = {path.name: path.read_text() for path in (tmp_path / "to").iterdir()}
    assert sorted(files) == ["A.PDF-33333333.md", "a.pdf-11111111.md", "b_ü_.png.md"]
    assert files["a.pdf-11111111.md"] == (
        '---\nuri: "/in/x/a.pdf"\nmodel: "nano"\npages:\n'
        "  - {page: 1, confidence: 0.5}\n  - {page: 3, confidence: 0.5}\n  - {page: 4, confidence: 0.5}\n"
        "pages_missing: [2]\n---\n\n"
        "<!-- page 1 -->\n\n# /in/x/a.pdf 1\n\n| a |\n\n"
        "<!-- page 3 -->\n\n# /in/x/a.pdf 3\n\n| a |\n\n"
        "<!-- page 4 -->\n\n# /in/x/a.pdf 4\n\n| a |\n"
    )


def test_a_blank_page_is_there_and_a_document_of_failures_is_not() -> None:
    blank = Page("a.md", "k", 'a "b".pdf', 1, 0.12345, "")
    assert document_markdown([blank], "m") == (
        '---\nuri: "a \\"b\\".pdf"\nmodel: "m"\npages:\n  - {page: 1, confidence: 0.1235}\n---\n\n'
        "<!-- page 1 -->\n"
    )
    assert document_markdown([blank._replace(text=None)], "m") is None


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/in/a.pdf", "a.pdf"),
        ("s3://b/in/x y.pdf", "x y.pdf"),
        ("/in/scans.parquet#a/../b", "b"),
        ("/in/scans.parquet#..", "scans.parquet#"),
        ("/in/..", "_"),
        ("/in/a\\b:c\n.png", "a_b_c_.png"),
        ("/in/" + "ü" * 120, "ü" * 100 + "-" + "b6d4ae2f"),
    ],
)
def test_a_file_has_a_name_that_every_system_allows(uri: str, name: str) -> None:
    found = file_name(uri)
    assert found[:-8] == name[:-8] if len(name) > 100 else found == name
    assert len(found.encode()) <= 209


def test_a_run_without_transcriptions_says_so(receipts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([str(receipts), "--format", "markdown"]) == 2
    assert "holds no transcriptions: ask for them with --target markdown" in capsys.readouterr().err
    assert not (receipts / "export").exists()
    assert export.main([str(receipts / "nothing"), "--format", "csv"]) == 2
    assert "holds no finished run" in capsys.readouterr().err


def test_half_a_file_is_no_file(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / "to"), force=False)

    class Gone(Exception):
        pass

    def write() -> None:
        with destination.open("answers/a.jsonl") as stream:
            stream.write(b"half")
            raise Gone

    with pytest.raises(Gone):
        write()
    assert [path.name for path in (tmp_path / "to").rglob("*")] == ["answers"]


class Nested(BaseModel):
    """Structs in structs and in lists, and every scalar."""

    class Inner(BaseModel):
        """One level more."""

        when: datetime | None = None
        tags: list[str]

    inner: Inner | None = None
    several: list[Inner]
    flag: bool
    ratio: float


def test_nested_values_become_columns_by_rule(tmp_path: Path) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    rows: list[Any] = [
        Nested(inner=Nested.Inner(when=when, tags=["a", 'b"']), several=[], flag=True, ratio=0.1),
        Nested(several=[Nested.Inner(tags=[])], flag=False, ratio=1e300),
    ]
    table = to_table(Nested, rows)
    with (tmp_path / "x.csv").open("wb") as stream:
        assert FORMATS["csv"](table.schema, table.to_batches(), stream) == 2
    with (tmp_path / "x.csv").open(newline="") as file:
        found = list(csv.reader(file))
    assert found[0] == ["inner.when", "inner.tags", "several", "flag", "ratio"]
    assert found[1] == ["2026-01-02 03:04:05.000000Z", '["a","b\\""]', "[]", "true", "0.1"]
    assert found[2] == ["", "", '[{"when":null,"tags":[]}]', "false", "1e+300"]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    inner = pa.struct([("b", pa.int64())])
    schema = pa.schema([("a", inner), ("a.b", pa.int64())])
    with (
        (tmp_path / "x.csv").open("wb") as stream,
        pytest.raises(ValueError, match=r"two flat columns .* a\.b"),
    ):
        FORMATS["csv"](schema, [], stream)


def test_flat_files_of_all_formats_hold_the_same(receipts: Path) -> None:
    (path,) = (receipts / "answers").iterdir()
    wanted = flat(read_table(str(path)).sort_by("item_key"))
    for kind in ("parquet", "jsonl", "csv"):
        to = receipts / f"to-{kind}"
        assert export.main([str(receipts), "--format", kind, "--flat", "--to", str(to)]) == 0
        (file,) = (to / "answers").glob(f"Receipt-*.{kind}")
        if kind == "parquet":
            found = pq.read_table(file)
        elif kind == "csv":
            texts = pacsv.ConvertOptions(
                column_types=wanted.schema, strings_can_be_null=True, quoted_strings_can_be_null=False
            )
            found = pacsv.read_csv(file, convert_options=texts)
        else:
            lines = file.read_text().splitlines()
            assert [list(json.loads(line)) for line in lines] == [wanted.column_names] * 2
            rows = [from_json_text(pa.struct(list(wanted.schema)), line) for line in lines]
            found = pa.Table.from_pylist(rows, schema=wanted.schema)
        assert found.sort_by("item_key").to_pylist() == wanted.to_pylist(), kind
        items = found.sort_by("item_key")["answer.items"].to_pylist()
        assert items == ['[{"name":"tea","amount":1.50},{"name":"","amount":-0.25}]', "[]"]
    assert pa.types.is_decimal(wanted.schema.field("answer.total").type)


def test_a_spreadsheet_runs_no_text_as_a_formula(tmp_path: Path) -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "＝1", "1=1", "'=1", " =1", "", None, 'a"b,c']
    table = pa.table({"id": list(range(len(texts))), "text": texts, "number": [-1.5] * len(texts)})
    with (tmp_path / "x.csv").open("wb") as stream:
        assert write_spreadsheet(table.schema, table.to_batches(max_chunksize=5), stream) == len(texts)
    assert (tmp_path / "x.csv").read_bytes().startswith(BOM)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == [f"'{text}" for text in texts[:8]] + [*texts[8:12], "", texts[13]]
    assert {row["number"] for row in rows} == {"-1.5"}
    read = duckdb.read_csv(str(tmp_path / "x.csv")).fetchall()
    assert [row[1] for row in sorted(read)][:3] == ["'=1+1", "'+1", "'-1"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--format", "parquet", "--spreadsheet"], "--spreadsheet is about --format csv: leave it out"),
        (["--format", "markdown", "--flat"], "--flat is about rows, and --format markdown has none"),
    ],
)
def test_flags_of_other_formats_are_refused(
    receipts: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main([str(receipts), *flags]) == 2
    assert says in capsys.readouterr().err
