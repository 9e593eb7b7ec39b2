"""New rows are told from old ones by what each version did to a table's files, or not at all."""

import random
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pipeline.ingest.changes import Change, Kind, UnclearError, new_files
from pipeline.ingest.feed import Feed, Position
from pipeline.ingest.listing import list_sources
from pipeline.ingest.reading import read_source

Step = tuple[Kind, str, str]  # what comes, and what goes: a file is a letter


def changes(*steps: Step, in_place: int = -1) -> list[Change]:
    return [
        Change(
            version=number + 1,
            before=number,
            kind=kind,
            added=frozenset(added),
            removed=frozenset(removed),
            in_place=number == in_place,
            what="MERGE",
        )
        for number, (kind, added, removed) in enumerate(steps)
    ]


@pytest.mark.parametrize(
    ("steps", "fresh"),
    [
        ([], {}),
        ([("append", "ab", "")], {"a": None, "b": None}),
        ([("rewrite", "c", "xy")], {}),
        ([("append", "ab", ""), ("rewrite", "c", "ab")], {"c": None}),
        ([("append", "a", ""), ("rewrite", "c", "ax")], {"a": 1}),
        ([("append", "a", ""), ("rewrite", "c", "ax"), ("rewrite", "d", "cy")], {"a": 1}),
        ([("append", "a", ""), ("rewrite", "c", "ax"), ("append", "b", "")], {"a": 1, "b": None}),
        ([("append", "ab", ""), ("delete", "", "a")], {"b": None}),
        ([("append", "ab", ""), ("delete", "c", "a")], {"b": None, "c": None}),
        ([("append", "a", ""), ("delete", "y", "x")], {"a": None}),
        ([("append", "a", ""), ("replace", "b", "ax")], {"b": None}),
        ([("append", "a", ""), ("rewrite", "c", "ax"), ("replace", "b", "c")], {"b": None}),
        ([("append", "ab", ""), ("rewrite", "c", "ax"), ("delete", "", "c")], {"b": None}),
        ([("append", "a", ""), ("rewrite", "c", "ax"), ("delete", "", "y")], {"a": 1}),
    ],
)
def test_the_files_with_rows_that_came(steps: list[Step], fresh: dict[str, int | None]) -> None:
    assert new_files(changes(*steps)) == fresh


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (
            [("append", "a", ""), ("rewrite", "c", "ax"), ("delete", "d", "c")],
            "version 3 deleted rows behind",
        ),
        ([("append", "a", ""), ("delete", "c", "ax")], "version 2 deleted old and new rows together"),
        ([("unclear", "a", "x")], r"version 1 \(MERGE\) wrote old and new rows together"),
    ],
)
def test_what_cannot_be_told_is_not_guessed(steps: list[Step], why: str) -> None:
    with pytest.raises(UnclearError, match=why):
        new_files(changes(*steps))


def test_rows_that_a_run_which_was_cut_may_have_asked_are_looked_for_where_they_came_in() -> None:
    steps: list[Step] = [("append", "ab", ""), ("rewrite", "c", "ab")]
    assert new_files(changes(*steps), was_cut=True) == {"a": 1, "b": 1}
    with pytest.raises(UnclearError, match="of which a run that was cut has asked some"):
        new_files(changes(("append", "a", ""), ("delete", "b", "a")), was_cut=True)


def test_rows_deleted_in_place_behind_a_compaction_cannot_be_told() -> None:
    steps: list[Step] = [("append", "a", ""), ("rewrite", "c", "ax"), ("delete", "", "")]
    with pytest.raises(UnclearError, match="deleted rows behind a compaction"):
        new_files(changes(*steps, in_place=2))
    with pytest.raises(UnclearError, match="changed rows behind a compaction"):
        new_files(changes(*steps[:2], ("append", "d", ""), in_place=2))
    assert new_files(changes(*steps[:1], steps[2], in_place=1)) == {"a": None}


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_done_to_a_table_each_row_is_listed_once_and_no_deleted_one(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    place, live, number = str(tmp_path / "t"), set[bytes](), 0
    read: list[Position] = []
    done, unclear = dict[str, bytes](), 0  # the rows that were asked, by their keys

    def append() -> None:
        nonlocal number
        rows = [b"%d" % (number + row) for row in range(rng.randint(1, 3))]
        number += len(rows)
        live.update(rows)
        ids = [int(row) for row in rows]
        write_deltalake(place, pa.table({"id": ids, "page": rows}), mode="append")

    append()
    for _ in range(25):
        match rng.choice(
            ["append", "append", "append", "compact", "delete", "clear", "vacuum", "run", "run", "cut"]
        ):
            case "append":
                append()
            case "compact":
                DeltaTable(place).optimize.compact()
            case "delete" if live:
                gone = rng.choice(sorted(live))
                live.remove(gone)
                DeltaTable(place).delete(f"id = {int(gone)}")
            case "clear" if rng.random() < 0.3:
                live.clear()
                DeltaTable(place).delete()
            case "vacuum" if rng.random() < 0.3:
                DeltaTable(place).vacuum(0, dry_run=False, enforce_retention_duration=False)
            case "run" | "cut" as how:
                feed = Feed(read, asked="x", only_new=bool(read), has_ids=False)
                ids = None
                try:
                    sources = list_sources([place], column="page", feed=feed).to_pylist()
                except ValueError as error:
                    if live and "--since-last-run: which rows of" not in str(error):
                        raise
                    unclear += 1
                    if not live:
                        continue
                    # What a person does then: all of it, with ids, by which rows are known from then on.
                    ids, done = "id", {}
                    feed = Feed(read, asked="x", only_new=True, has_ids=True)
                    sources = list_sources([place], column="page", id_column=ids, feed=feed).to_pylist()
                found = {source["source_key"]: read_source(source, ()) for source in sources}
                assert len(set(found.values())) == len(sources)
                assert set(found.values()) <= live, "a deleted row"
                new = {key: row for key, row in found.items() if key not in done}
                assert not set(new.values()) & set(done.values()), "asked twice"
                if how == "cut" and ids is None and read:
                    done |= dict(rng.sample(sorted(new.items()), len(new) // 2))
                    read = feed.begun()
                    continue
                done |= new
                assert live <= set(done.values()), "lost"
                read = feed.finished()
    assert unclear < 8
