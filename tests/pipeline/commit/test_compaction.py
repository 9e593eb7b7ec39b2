"""Merged files hold the same rows, in the way in which runs, readers and the log want them."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake.exceptions import CommitFailedError
from deltalake.table import TableOptimizer

from pipeline.commit.compaction import TRIES, compact
from pipeline.commit.delta_log import APP, Change
from pipeline.commit.lease import Lease
from pipeline.commit.tables import OutputError, Table, create_tables, handle_of, read_table, write_rows
from schemas.arrow import to_table
from schemas.rows import answer_row
from schemas.targets import Receipt
from tests.pipeline.stored import RECEIPT, answer, answers_file, visible


def write(tables: dict[str, Table], *names: str) -> None:
    """Receipts, each in a file of its own, of documents whose names are longer than Parquet's statistics."""
    with Lease(tables, "run") as lease:
        for name in names:
            row = answer(name, RECEIPT, Receipt).model_copy(update={"uri": f"/in/{'x' * 100}/{name}"})
            file = write_rows(tables["answers"], to_table(answer_row(Receipt), [row]))
            lease.commit("answers", Change(added=[file]))


def rows_of(table: Table) -> list[str]:
    return sorted(json.dumps(row, default=str) for row in read_table(table.uri).to_pylist())


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    tables = create_tables(str(tmp_path), Receipt)
    write(tables, *"abcdef")
    return tables


def test_the_rows_stay_and_their_order_and_the_numbers_of_runs(tables: dict[str, Table]) -> None:
    before, handle = rows_of(tables["answers"]), handle_of(tables["answers"].uri)
    assert compact(tables["answers"]) == 6
    after = handle_of(tables["answers"].uri)
    assert rows_of(tables["answers"]) == before
    assert len(after.file_uris()) == 1
    assert after.version() == handle.version() + 1
    assert after.transaction_version(APP) == handle.transaction_version(APP)
    assert after.metadata().configuration == handle.metadata().configuration
    assert after.schema() == handle.schema()
    order = read_table(tables["answers"].uri, ["item_key"])["item_key"].to_pylist()
    assert order in (list("abcdef"), list("fedcba"))


def test_readers_that_follow_a_table_are_sent_no_row_again(tables: dict[str, Table]) -> None:
    compact(tables["answers"])
    log = Path(tables["answers"].uri) / "_delta_log"
    (*_, last) = sorted(log.glob("*.json"))
    actions = [json.loads(line) for line in last.read_text().splitlines()]
    changes = [
        action[kind]["dataChange"] for action in actions for kind in ("add", "remove") if kind in action
    ]
    assert changes == [False] * 7


def test_merged_files_have_statistics_of_what_people_filter_by_and_none_of_texts(
    tables: dict[str, Table],
) -> None:
    compact(tables["answers"])
    (stats,) = pa.table(handle_of(tables["answers"].uri).get_add_actions(flatten=True)).to_pylist()
    assert stats["num_records"] == 6
    assert (stats["min.uri"], stats["max.uri"]) == (f"/in/{'x' * 100}/a", f"/in/{'x' * 100}/f")
    assert stats["min.answer.total"] == stats["max.answer.total"] == pytest.approx(1.25)
    assert stats["max.confidence"] == 0.5
    assert {"min.question_id", "min.run_id", "min.answered_at", "min.page_first"} <= stats.keys()
    assert stats.get("min.raw_text") is stats.get("max.raw_text") is None


def test_files_of_the_target_size_are_left_alone(tables: dict[str, Table]) -> None:
    files = handle_of(tables["answers"].uri).file_uris()
    assert compact(tables["answers"], target_size=1) == 0
    assert handle_of(tables["answers"].uri).file_uris() == files
    assert compact(tables["answers"]) == 6
    version = handle_of(tables["answers"].uri).version()
    assert compact(tables["answers"]) == 0  # and is no commit
    assert handle_of(tables["answers"].uri).version() == version


def test_a_commit_that_comes_in_between_counts(
    tables: dict[str, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat, a run that was taken for dead, another tool: what it removes does not come back."""
    really = TableOptimizer.compact
    removed = pa.table(handle_of(tables["answers"].uri).get_add_actions()).to_pylist()[0]

    def slowly(optimizer: TableOptimizer, **options: object) -> dict[str, object]:
        monkeypatch.setattr(TableOptimizer, "compact", really)
        with Lease(tables, "next") as lease:
            change = Change(removed={removed["path"]: removed["size_bytes"]})
            lease.commit("answers", change)
        return really(optimizer, **options)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(TableOptimizer, "compact", slowly)
    assert compact(tables["answers"]) == 5
    assert len(visible(tables["answers"])) == 5


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CommitFailedError("no"), "other tools replace its files"),
        (OSError(28, "No space left"), "No space left"),
    ],
)
def test_a_table_that_cannot_be_compacted_is_one_sentence(
    tables: dict[str, Table], monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    calls = 0

    def refuse(*_: object, **__: object) -> None:
        nonlocal calls
        calls += 1
        raise error

    monkeypatch.setattr(TableOptimizer, "compact", refuse)
    with pytest.raises(OutputError, match=f"cannot be compacted: .*{words}"):
        compact(tables["answers"])
    assert calls == (TRIES if isinstance(error, CommitFailedError) else 1)
    assert len(visible(tables["answers"])) == 6


def test_free_answers_have_no_statistics(tmp_path: Path) -> None:
    """They may be pages long."""
    tables = create_tables(str(tmp_path), None)
    with Lease(tables, "run") as lease:
        for name in "ab":
            lease.commit("answers", Change(added=[answers_file(tables, name)]))
    compact(tables["answers"])
    (stats,) = pa.table(handle_of(tables["answers"].uri).get_add_actions(flatten=True)).to_pylist()
    assert stats["min.uri"] == stats["max.uri"] == "/docs/a.pdf"
    assert stats.get("min.answer") is stats.get("max.answer") is None
