"""Rows in are rows out: none is visible before its commit, none twice after it, on disks and on S3."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import boto3
import botocore.exceptions
import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.tables import Committer, DataFile, Table, create_tables, open_table, read_table, write_rows
from schemas.arrow import from_row, schema_hash, to_table
from schemas.rows import Answer, Document, Failure, answer_row
from schemas.targets import Receipt, ReceiptItem

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
RECEIPT = Receipt(
    merchant="Köfte & Çay",
    date=date(2026, 1, 2),
    items=[ReceiptItem(name="tea", amount=Decimal("1.50")), ReceiptItem(name="", amount=Decimal("-0.25"))],
    total=Decimal("1.25"),
)


def answer(key: str, value: str | Receipt = "42", target: type[BaseModel] | None = None) -> Answer:
    return answer_row(target).model_validate(
        {
            "item_key": key,
            "source_key": "s",
            "settings_key": "t",
            "run_id": "r",
            "uri": "/docs/a.pdf",
            "page_first": 1,
            "page_last": 1,
            "question_id": "q",
            "question": "How many?",
            "answer": value,
            "raw_text": " 42",
            "confidence": 0.5,
            "fields": [{"path": "total", "confidence": 0.25}],
            "finish_reason": "stop",
            "prompt_tokens": 10,
            "cached_tokens": 0,
            "output_tokens": 2,
            "answered_at": NOW,
        }
    )


def failure(key: str) -> Failure:
    return Failure(
        item_key=key,
        source_key="s",
        settings_key="t",
        run_id="r",
        uri="/docs/b.pdf",
        question_id="q",
        question="How many?",
        stage="open",
        reason="needs_password",
        message="The document needs a password.",
        failed_at=NOW,
    )


def document(source_key: str) -> Document:
    return Document(
        source_key=source_key,
        settings_key="t",
        run_id="r",
        uri="/docs/a.pdf",
        items_expected=2,
        items_answered=1,
        items_failed=1,
        status="partial",
        finished_at=NOW,
    )


def answers_file(tables: dict[str, Table], *keys: str) -> DataFile:
    return write_rows(tables["answers"], to_table(Answer, [answer(key) for key in keys]))


def failures_file(tables: dict[str, Table], *keys: str) -> DataFile:
    return write_rows(tables["failures"], to_table(Failure, [failure(key) for key in keys]))


def visible(table: Table) -> list[str]:
    return sorted(read_table(table.uri, columns=["item_key"])["item_key"].to_pylist())


def test_new_tables_are_empty_and_readable(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path / "out"), Receipt)
    assert list(tables) == ["answers", "failures", "documents"]
    assert tables["answers"].uri == f"{tmp_path}/out/answers/Receipt-{schema_hash(Receipt)}"
    for table in tables.values():
        found = read_table(table.uri)
        assert found.num_rows == 0
        assert found.schema.equals(table.schema)
        assert DeltaTable(table.uri).metadata().configuration == {"schema_version": "2"}


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
    table = create_tables(str(tmp_path), Receipt)["answers"]
    row_model = answer_row(Receipt)
    rows = [answer("a", RECEIPT, Receipt), answer("b", RECEIPT.model_copy(update={"items": []}), Receipt)]
    added = Committer({"answers": table}).commit([write_rows(table, to_table(row_model, rows))])
    assert added == {"answers": 2}
    found = read_table(table.uri)
    assert found.schema.equals(table.schema)
    assert found.schema.field("answer").type.field("total").type == pa.decimal128(12, 2)
    assert [from_row(row_model, row) for row in found.to_pylist()] == rows


def test_the_readers_of_the_readme_work_offline(tmp_path: Path) -> None:
    table = create_tables(str(tmp_path), Receipt)["answers"]
    rows = to_table(answer_row(Receipt), [answer("a", RECEIPT, Receipt)])
    Committer({"answers": table}).commit([write_rows(table, rows)])
    assert DeltaTable(table.uri).to_pandas().answer[0]["total"] == Decimal("1.25")
    assert DeltaTable(table.uri).to_pyarrow_table()["answer"][0]["total"].as_py() == Decimal("1.25")
    answers = DeltaTable(table.uri).to_pyarrow_dataset()
    query = "select uri, answer.total, answer.items[1].name from answers where confidence > 0.4"
    assert duckdb.execute(query).fetchall() == [("/docs/a.pdf", Decimal("1.25"), "tea")]
    assert answers.count_rows() == 1


def test_rows_are_invisible_until_their_commit(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    committer = Committer(tables)
    committed, orphan = answers_file(tables, "a", "b"), answers_file(tables, "c")
    assert visible(tables["answers"]) == []
    assert committer.commit([committed]) == {"answers": 2, "failures": 0, "documents": 0}
    assert visible(tables["answers"]) == ["a", "b"]
    assert (tmp_path / "answers" / "text" / orphan.path).exists()


def test_a_commit_said_twice_adds_nothing(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    files = [answers_file(tables, "a", "b"), failures_file(tables, "c")]
    first = Committer(tables)
    assert first.commit(files) == {"answers": 2, "failures": 1, "documents": 0}
    assert first.commit(files) == {"answers": 0, "failures": 0, "documents": 0}
    after_a_restart = Committer(create_tables(str(tmp_path), None))
    assert after_a_restart.commit(files) == {"answers": 0, "failures": 0, "documents": 0}
    assert DeltaTable(tables["answers"].uri).version() == 1


def test_a_row_written_twice_is_visible_once(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    committer = Committer(tables)
    committer.commit([answers_file(tables, "a", "b")])
    again = [answers_file(tables, "b", "c", "c"), answers_file(tables, "c", "d"), answers_file(tables)]
    assert committer.commit(again)["answers"] == 2
    assert visible(tables["answers"]) == ["a", "b", "c", "d"]
    assert read_table(tables["answers"].uri).filter(pa.compute.field("item_key") == "c").num_rows == 1


def test_an_item_is_in_answers_or_in_failures_never_both(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    committer = Committer(tables)
    added = committer.commit([failures_file(tables, "a", "b"), answers_file(tables, "a")])
    assert added == {"answers": 1, "failures": 1, "documents": 0}
    assert visible(tables["failures"]) == ["b"]


def test_documents_are_told_apart_by_source_and_settings(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    other = document("s1").model_copy(update={"settings_key": "u"})
    rows = to_table(Document, [document("s1"), document("s2"), other, document("s1")])
    assert Committer(tables).commit([write_rows(tables["documents"], rows)])["documents"] == 3


@given(
    st.lists(
        st.lists(st.integers(0, 30), max_size=6),
        max_size=8,
    )
)
def test_rows_in_are_rows_out(tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]) -> None:
    tables = create_tables(str(tmp_path_factory.mktemp("out")), None)
    committer = Committer(tables)
    for at in range(0, len(batches), 2):  # two files a commit, whose rows may repeat
        committer.commit(answers_file(tables, *map(str, keys)) for keys in batches[at : at + 2])
    assert visible(tables["answers"]) == sorted({str(key) for keys in batches for key in keys})


def test_two_drivers_on_one_output_lose_and_double_nothing(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    with ThreadPoolExecutor(2) as pool:
        added = list(pool.map(lambda first: drive(tables, first), (0, 5)))
    assert visible(tables["answers"]) == sorted(str(key) for key in range(15))
    assert sum(added) == 15


def drive(tables: dict[str, Table], first: int) -> int:
    committer = Committer(tables)
    files = [answers_file(tables, str(key)) for key in range(first, first + 10)]
    return sum(committer.commit([file])["answers"] for file in files)


def test_a_commit_whose_reply_got_lost_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = create_tables(str(tmp_path), None)
    committer, really = Committer(tables), DeltaTable.create_write_transaction

    def lose_the_reply(*args: object, **kwargs: object) -> None:
        really(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        raise CommitFailedError("Failed to commit transaction: Concurrent transaction failed.")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lose_the_reply)
    assert committer.commit([answers_file(tables, "a")])["answers"] == 1
    assert visible(tables["answers"]) == ["a"]


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = create_tables(str(tmp_path), None)
    committer = Committer(tables)

    def refuse(*args: object, **kwargs: object) -> None:
        raise CommitFailedError("no")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", refuse)
    with pytest.raises(CommitFailedError):
        committer.commit([answers_file(tables, "a")])


def test_an_older_table_gets_the_new_nullable_column(tmp_path: Path) -> None:
    old = Table(
        name="t",
        uri=str(tmp_path / "t"),
        schema=pa.schema([pa.field("k", pa.string(), nullable=False)], metadata={"schema_version": "1"}),
        key=("k",),
    )
    new_schema = old.schema.append(pa.field("extra", pa.int64())).with_metadata({"schema_version": "2"})
    new = Table(name="t", uri=old.uri, schema=new_schema, key=("k",))
    open_table(old)
    Committer({"t": old}).commit([write_rows(old, pa.table({"k": ["a"]}, schema=old.schema))])
    open_table(new)
    Committer({"t": new}).commit([write_rows(new, pa.table({"k": ["b"], "extra": [1]}, schema=new.schema))])
    rows = read_table(new.uri).sort_by("k").to_pylist()
    assert rows == [{"k": "a", "extra": None}, {"k": "b", "extra": 1}]
    assert DeltaTable(new.uri).metadata().configuration == {"schema_version": "2"}


@pytest.mark.parametrize("column", [pa.field("k", pa.int64()), pa.field("more", pa.string(), nullable=False)])
def test_a_table_with_other_columns_is_refused(tmp_path: Path, column: pa.Field) -> None:
    schema = pa.schema([pa.field("k", pa.string())], metadata={"schema_version": "1"})
    table = Table(name="t", uri=str(tmp_path), schema=schema, key=("k",))
    open_table(table)
    fields = {field.name: field for field in schema} | {column.name: column}
    other = Table(name="t", uri=table.uri, schema=pa.schema(fields.values(), schema.metadata), key=("k",))
    with pytest.raises(ValueError, match=f"other columns \\({column.name}\\); choose another --output"):
        open_table(other)


def test_a_place_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(ValueError, match=f"^cannot open the table {tmp_path}/out/answers/text: [^\n\x1b]+$"):
        create_tables(str(tmp_path / "out"), None)


def test_reading_where_there_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no table at"):
        read_table(str(tmp_path))


def test_a_percent_sign_in_the_output_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has a % in its path, which Delta Lake misreads; choose another"):
        create_tables(str(tmp_path / "50%20"), None)


def test_odd_characters_in_the_output_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tables = create_tables("réponses #1 50?", None)
    Committer(tables).commit([answers_file(tables, "a")])
    assert visible(tables["answers"]) == ["a"]
    assert (tmp_path / "réponses #1 50?" / "answers" / "text" / "_delta_log").is_dir()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3 server of our own and a bucket in it; `AWS_*` point there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        try:
            _create_bucket("quire", deadline=time.monotonic() + 60)
            yield "s3://quire"
        finally:
            server.terminate()
            server.wait()


def _create_bucket(name: str, *, deadline: float) -> None:
    while True:
        try:
            boto3.client("s3").create_bucket(Bucket=name)
            return
        except botocore.exceptions.EndpointConnectionError:
            assert time.monotonic() < deadline, "the S3 server did not start"
            time.sleep(0.2)


def test_two_drivers_on_s3_lose_and_double_nothing(bucket: str) -> None:
    tables = create_tables(f"{bucket}/two/", None)
    with ThreadPoolExecutor(2) as pool:
        added = list(pool.map(lambda first: drive(tables, first), (0, 5)))
    assert visible(tables["answers"]) == sorted(str(key) for key in range(15))
    assert sum(added) == 15
    query = "select count(*) from answers"
    answers = DeltaTable(
        tables["answers"].uri, storage_options={"AWS_ALLOW_HTTP": "true"}
    ).to_pyarrow_dataset()
    assert duckdb.execute(query).fetchall() == [(answers.count_rows(),)] == [(15,)]


def test_a_missing_bucket_is_refused(bucket: str) -> None:
    assert os.environ["AWS_ENDPOINT_URL"]
    with pytest.raises(
        ValueError, match=r"cannot open the table s3://nowhere/out/answers/text: .*NoSuchBucket"
    ):
        create_tables("s3://nowhere/out", None)
