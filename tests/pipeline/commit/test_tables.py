"""Tables are made, checked and read, with their own types and by the readers of the README."""

import os
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline.commit import manifest
from pipeline.commit.delta_log import Change
from pipeline.commit.lease import Lease
from pipeline.commit.tables import Table, create_tables, open_table, read_table
from pipeline.ingest.delta import plain
from schemas.arrow import from_row, schema_hash, to_table
from schemas.rows import Answer, answer_row
from schemas.targets import Receipt
from tests.pipeline.deletion_vectors import delete_by_vector
from tests.pipeline.stored import RECEIPT, answer, answers_file, show, visible


def test_new_tables_are_empty_and_readable(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path / "out"), Receipt)
    assert list(tables) == ["answers", "failures", "documents"]
    assert tables["answers"].uri == f"{tmp_path}/out/answers/Receipt-{schema_hash(Receipt)}"
    for table in tables.values():
        found = read_table(table.uri)
        assert found.num_rows == 0
        assert found.schema.equals(table.schema)
        assert DeltaTable(table.uri).metadata().configuration == {"schema_version": "5"}


def test_an_output_may_be_relative_or_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for output in ("out/demo", "~/out/demo"):
        create_tables(output, None)
        assert read_table(f"{output}/answers/text").num_rows == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_target_comes_back_with_its_own_types(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), Receipt)
    table = tables["answers"]
    row_model = answer_row(Receipt)
    rows = [answer("a", RECEIPT, Receipt), answer("b", RECEIPT.model_copy(update={"items": []}), Receipt)]
    show(tables, table, to_table(row_model, rows))
    found = read_table(table.uri)
    assert found.schema.equals(table.schema)
    assert found.schema.field("answer").type.field("total").type == pa.decimal128(12, 2)
    assert [from_row(row_model, row) for row in found.to_pylist()] == rows


def test_the_readers_of_the_readme_work_offline(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), Receipt)
    table = tables["answers"]
    show(tables, table, to_table(answer_row(Receipt), [answer("a", RECEIPT, Receipt)]))
    assert DeltaTable(table.uri).to_pandas().answer[0]["total"] == Decimal("1.25")
    assert DeltaTable(table.uri).to_pyarrow_table()["answer"][0]["total"].as_py() == Decimal("1.25")
    answers = DeltaTable(table.uri).to_pyarrow_dataset()
    query = "select uri, answer.total, answer.items[1].name from answers where confidence > 0.4"
    assert duckdb.execute(query).fetchall() == [("/docs/a.pdf", Decimal("1.25"), "tea")]
    assert answers.count_rows() == 1


def test_an_older_table_gets_the_new_nullable_column(tmp_path: Path) -> None:
    old = Table(
        name="documents",
        uri=str(tmp_path / "documents"),
        schema=pa.schema([pa.field("k", pa.string(), nullable=False)], metadata={"schema_version": "1"}),
    )
    new_schema = old.schema.append(pa.field("extra", pa.int64())).with_metadata({"schema_version": "2"})
    new = Table(name="documents", uri=old.uri, schema=new_schema)
    open_table(old)
    show({"documents": old}, old, pa.table({"k": ["a"]}, schema=old.schema))
    open_table(new)
    show({"documents": new}, new, pa.table({"k": ["b"], "extra": [1]}, schema=new.schema))
    rows = read_table(new.uri).sort_by("k").to_pylist()
    assert rows == [{"k": "a", "extra": None}, {"k": "b", "extra": 1}]
    assert DeltaTable(new.uri).metadata().configuration == {"schema_version": "2"}


@pytest.mark.parametrize("column", [pa.field("k", pa.int64()), pa.field("more", pa.string(), nullable=False)])
def test_a_table_with_other_columns_is_refused(tmp_path: Path, column: pa.Field) -> None:
    schema = pa.schema([pa.field("k", pa.string())], metadata={"schema_version": "1"})
    table = Table(name="t", uri=str(tmp_path), schema=schema)
    open_table(table)
    fields = {field.name: field for field in schema} | {column.name: column}
    other = Table(name="t", uri=table.uri, schema=pa.schema(fields.values(), schema.metadata))
    with pytest.raises(ValueError, match=f"other columns \\({column.name}\\); choose another --output"):
        open_table(other)


def test_an_older_table_is_left_as_it_is_while_another_run_writes_to_it(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    schema = tables["answers"].schema.append(pa.field("extra", pa.int64()))
    newer = tables | {"answers": Table(name="answers", uri=tables["answers"].uri, schema=schema)}
    with Lease(tables, "run") as lease:
        open_table(newer["answers"])
        with pytest.raises(ValueError, match="is being written by run run"):
            Lease(newer, "newer").acquire()
        lease.commit("answers", Change(added=[answers_file(tables, "a")]))
    with Lease(newer, "newer"):
        assert "extra" in read_table(newer["answers"].uri).column_names


def test_deletion_vectors_of_another_tool_are_refused(tmp_path: Path) -> None:
    """Its rows would be back in the file that replaces the one from which they were deleted."""
    tables = create_tables(str(tmp_path), None)
    show(tables, tables["answers"], to_table(Answer, [answer("a"), answer("b")]))
    delete_by_vector(tables["answers"].uri, [1])
    with pytest.raises(ValueError, match=r"were deleted with deletion vectors.*choose another --output"):
        create_tables(str(tmp_path), None)


def test_a_place_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(ValueError, match=f"^cannot open the table {tmp_path}/out/answers/text: [^\n\x1b]+$"):
        create_tables(str(tmp_path / "out"), None)


def test_reading_where_there_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no table at"):
        read_table(str(tmp_path))


def test_an_escape_in_the_path_of_the_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has %2B in its path, which Delta Lake misreads; choose another"):
        create_tables(str(tmp_path / "50%2B"), None)


def test_odd_characters_in_the_output_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tables = create_tables("réponses #1 50% ?", None)
    show(tables, tables["answers"], to_table(Answer, [answer("a")]))
    assert visible(tables["answers"]) == ["a"]
    assert (tmp_path / "réponses #1 50% ?" / "answers" / "text" / "_delta_log").is_dir()


@pytest.mark.processes
def test_odd_characters_in_an_output_on_s3(bucket: str) -> None:
    output = f"{bucket}/out dir/réponses #1 50% ? [x] a+b&c;d|e^f"
    for _ in range(2):  # the second finds what the first has made
        tables = create_tables(f"{output}/", None)
    show(tables, tables["answers"], to_table(Answer, [answer("a")]))
    assert visible(tables["answers"]) == ["a"]
    manifest.check_reachable(output)
    assert manifest.write_record(output, {"finished_at": "now"}) == f"{output}/run.json"
    assert manifest.read_record(output) == {"finished_at": "now"}
    for wrong in (f"{bucket}/a%20b", f"{bucket}/a//b", f"{bucket}/a\nb"):
        with pytest.raises(ValueError, match=r"(?s)misreads; choose another|cannot open the table .*[Pp]ath"):
            create_tables(wrong, None)


def test_no_signature_stands_in_a_sentence() -> None:
    error = OSError("GET http://a.blob.core.windows.net/c/d?sv=1&sig=hunter2%3D&se=2 answered 500")
    assert plain(error) == "GET http://a.blob.core.windows.net/c/d?sv=1&sig=...&se=2 answered 500"


@pytest.mark.processes
def test_a_missing_bucket_is_refused(bucket: str) -> None:
    assert os.environ["AWS_ENDPOINT_URL"]
    with pytest.raises(
        ValueError, match=r"cannot open the table s3://nowhere/out/answers/text: .*NoSuchBucket"
    ):
        create_tables("s3://nowhere/out", None)
