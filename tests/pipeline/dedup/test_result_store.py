"""A row is found where it lies: not committed yet, in a file of this run, or in one that took its place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline.commit import tables as stored_tables
from pipeline.commit.delta_log import Change
from pipeline.commit.lease import Lease
from pipeline.commit.tables import Table, create_tables, write_rows
from pipeline.dedup import result_store
from pipeline.dedup.result_store import ResultStore
from pipeline.plan.rows import ANSWER, FAILURE, Row, result_schema, table_of
from schemas.arrow import to_row, to_table
from schemas.rows import Answer, Failure
from tests.pipeline.stored import answer, failure, show

SCHEMA = result_schema(None)
Tables = dict[str, Table]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return create_tables(str(tmp_path), None)


@pytest.fixture
def store(tables: Tables) -> ResultStore:
    return ResultStore([tables["answers"]], SCHEMA)


def key(number: int) -> str:
    return f"{number:032x}"


def results(numbers: range, failing: bool = False) -> pa.Table:
    rows: list[Row] = []
    for number in numbers:
        row = to_row(failure(key(number)) if failing else answer(key(number), f"answer {number}"))
        kind = FAILURE if failing else ANSWER
        rows.append({"kind": kind, kind: row, "item_key": key(number)})
    return table_of(rows, SCHEMA)


def commit(store: ResultStore, tables: Tables, name: str, *numbers: int) -> None:
    """As the writer does."""
    if name == "answers":
        rows = to_table(Answer, [answer(key(number), f"answer {number}") for number in numbers])
    else:
        rows = to_table(Failure, [failure(key(number)) for number in numbers])
    file = write_rows(tables[name], rows)
    with Lease(tables, "run") as lease:
        lease.commit(name, Change(added=[file]))
    store.committed(tables[name], file.path, rows["item_key"].to_pylist())


def answers(store: ResultStore, numbers: range) -> list[Any]:
    return [found and found[1]["answer"] for found in map(store.get, map(key, numbers))]


@pytest.mark.parametrize("window", [1, 3, 4096])
def test_a_row_is_found_before_its_commit_and_after_it(
    store: ResultStore, tables: Tables, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_store, "WINDOW_ROWS", window)
    store.keep(results(range(10)))
    store.keep(results(range(20, 22), failing=True))
    expected = [f"answer {number}" for number in range(10)]
    assert answers(store, range(10)) == expected
    before = [store.get(key(number)) for number in (4, 21)]
    commit(store, tables, "answers", *range(9, 2, -1))
    assert answers(store, range(10)) == expected
    commit(store, tables, "answers", *range(3))
    commit(store, tables, "failures", 20, 21)
    assert answers(store, range(10)) == expected
    assert [found and found[0] for found in before] == [ANSWER, FAILURE]
    assert [store.get(key(number)) for number in (4, 21)] == before
    assert store.get(key(99)) is None
    assert key(9) in store
    assert key(99) not in store


def test_what_is_committed_is_not_held(store: ResultStore, tables: Tables) -> None:
    store.keep(results(range(10)))
    store.keep(results(range(10)))  # a task was repeated
    commit(store, tables, "answers", *range(10))
    assert not store._new
    store.keep(results(range(10)))
    assert not store._new
    assert answers(store, range(3)) == ["answer 0", "answer 1", "answer 2"]


def test_the_first_of_two_rows_of_an_item_counts_before_its_commit_and_after_it(
    store: ResultStore, tables: Tables
) -> None:
    store.keep(results(range(1)))
    store.keep(results(range(1), failing=True))
    commit(store, tables, "answers", 0)
    store.keep(results(range(1), failing=True))
    assert answers(store, range(1)) == ["answer 0"]


def compact(table: DeltaTable) -> None:
    table.optimize.compact()


def delete(table: DeltaTable) -> None:
    table.delete(f"item_key = '{key(1)}'")


@pytest.mark.parametrize("change", [compact, delete])
def test_a_row_whose_file_is_gone_is_found_in_the_one_that_took_its_place(
    store: ResultStore, tables: Tables, change: Callable[[DeltaTable], None]
) -> None:
    store.keep(results(range(6)))
    commit(store, tables, "answers", 0, 1, 2)
    commit(store, tables, "answers", 3, 4, 5)
    table = DeltaTable(tables["answers"].uri)
    change(table)
    table.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    assert answers(store, range(2, 6)) == [f"answer {number}" for number in range(2, 6)]
    if change is delete:
        with pytest.raises(FileNotFoundError):
            store.get(key(1))
    else:
        assert answers(store, range(2)) == ["answer 0", "answer 1"]


def test_the_answers_of_a_large_file_are_noted_part_by_part(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_tables, "LARGE_BYTES", 0)
    monkeypatch.setattr(stored_tables, "STREAM_ROWS", 2)
    monkeypatch.setattr(stored_tables, "PART_BATCHES", 1)
    prompts = {number: None if number % 3 else key(100 + number) for number in range(11)}
    rows = [
        answer(key(number), f"answer {number}").model_copy(update={"prompt_key": prompt})
        for number, prompt in prompts.items()
    ]
    for some in (rows[:5], rows[5:]):
        show(tables, tables["answers"], to_table(Answer, some))
    store = ResultStore([tables["answers"]], SCHEMA)
    pairs = [pair for some in store.seed(0, "t") for pair in some]
    assert sorted(pairs) == [(key(100 + number), key(number)) for number in range(0, 11, 3)]
    assert [found and found[1]["answer"] for found in map(store.get, [key(0), key(6), key(9)])] == [
        "answer 0",
        "answer 6",
        "answer 9",
    ]


def test_an_item_takes_a_tenth_of_its_row(store: ResultStore, tables: Tables) -> None:
    store.keep(results(range(5_000)))
    commit(store, tables, "answers", *range(5_000))
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    (size,) = store._database.execute("PRAGMA page_size").fetchone()
    assert pages * size / 5_000 < 60
    assert not store._new
