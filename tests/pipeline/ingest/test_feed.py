"""A feed lists the rows of a table that came since a position, and says so where it cannot."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table.snapshots import Operation, Summary, update_snapshot_summaries
from pyiceberg.table.update.snapshot import ExpireSnapshots

from pipeline.ingest.catalogs import file_properties
from pipeline.ingest.delta import address
from pipeline.ingest.feed import Feed, Position
from pipeline.ingest.iceberg import plain_uri
from pipeline.ingest.listing import list_sources
from pipeline.ingest.reading import read_source
from tests.pipeline.deletion_vectors import delete_by_vector
from tests.pipeline.iceberg_deletes import delete_by_position
from tests.pipeline.ingest.listed import parquet
from tests.pipeline.ingest.tables import made, place, rows, table


class Runs:
    """Listings one after the other, each of which is carried out."""

    def __init__(self, given: str, **options: Any) -> None:
        self.given, self.options = given, {"column": "page"} | options
        self.read: list[Position] = []

    def list(self, asked: str = "x", *, only_new: bool = True) -> list[bytes]:
        has_ids = "id_column" in self.options
        feed = Feed(self.read, asked=asked, only_new=only_new, has_ids=has_ids)
        sources = list_sources([self.given], feed=feed, **self.options).to_pylist()
        self.read = feed.finished()
        return sorted(read_source(source, ()) for source in sources)


def test_rows_of_a_delta_table_are_listed_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = Runs(table(tmp_path / "t 1#é", "a", "b"))
    assert runs.list() == [b"a", b"b"]
    assert "nothing was asked of it so: all of its rows are listed" in caplog.text
    assert runs.list() == []
    table(tmp_path / "t 1#é", "c", mode="append")
    assert runs.list(only_new=False) == [b"a", b"b", b"c"], "the position moves all the same"
    table(tmp_path / "t 1#é", "d", mode="append")
    assert runs.list() == [b"d"]
    assert runs.list("other questions") == [b"a", b"b", b"c", b"d"]
    assert runs.list() == []


def test_compaction_asks_no_row_again_and_loses_none(tmp_path: Path) -> None:
    runs = Runs(table(tmp_path / "t", "a", "b"))
    runs.list()
    table(tmp_path / "t", "c", mode="append")
    DeltaTable(runs.given).optimize.compact()
    assert len(DeltaTable(runs.given).file_uris()) == 1
    assert runs.list() == [b"c"]
    DeltaTable(runs.given).optimize.z_order(["id"])
    assert runs.list() == []


def test_rows_that_were_deleted_by_vectors_since_they_came_are_left_out(tmp_path: Path) -> None:
    runs = Runs(table(tmp_path / "t", "a", "b", "c"))
    first = DeltaTable(runs.given)
    runs.read = [
        {
            "input": runs.given,
            "table": runs.given,
            "id": first.metadata().id,
            "version": -1,
            "asked": "x",
            "was_cut": False,
        }
    ]
    delete_by_vector(runs.given, [1])
    assert runs.list() == [b"a", b"c"]


@pytest.mark.parametrize("what", ["vacuumed", "cleaned", "merged", "restored"])
def test_what_cannot_be_told_is_refused_or_known_by_ids(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = table(tmp_path / "t", "a", "b")
    runs, with_ids = Runs(place), Runs(place, id_column="id")
    runs.list()
    with_ids.list()
    table(tmp_path / "t", "c", mode="append")
    delta = DeltaTable(place)
    match what:
        case "vacuumed":
            delta.optimize.compact()
            delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
            why = "which a compaction has merged with others, was removed"
        case "cleaned":
            delta.create_checkpoint()
            Path(place, "_delta_log", f"{1:020}.json").rename(tmp_path / "gone")
            why = "version 1 has left its log"
        case "merged":
            delta.update(updates={"year": "'x'"}, predicate="id = 'a'")
            why = r"version 2 (UPDATE) wrote old and new rows together"
        case _:
            delta.delete()
            delta.restore(0)
            why = "version 3 (RESTORE)"
    with pytest.raises(
        ValueError, match=r"--since-last-run: which rows of .* are new cannot be told"
    ) as caught:
        runs.list()
    assert why in str(caught.value)
    assert "name its rows with --id-column" in str(caught.value)
    assert len(with_ids.list()) == (2 if what == "restored" else 3)
    assert "all of its rows are listed, and known by their ids" in caplog.text
    assert with_ids.list() == []


def test_a_run_that_was_cut_has_asked_rows_by_the_files_that_they_came_in(tmp_path: Path) -> None:
    runs = Runs(table(tmp_path / "t", "a", "b"))
    runs.list()
    table(tmp_path / "t", "c", "d", mode="append")
    feed = Feed(runs.read, asked="x", only_new=True, has_ids=False)
    before = set(list_sources([runs.given], column="page", feed=feed)["source_key"].to_pylist())
    runs.read = feed.begun()
    table(tmp_path / "t", "e", mode="append")
    DeltaTable(runs.given).optimize.compact()
    feed = Feed(runs.read, asked="x", only_new=True, has_ids=False)
    again = set(list_sources([runs.given], column="page", feed=feed)["source_key"].to_pylist())
    assert before < again
    assert len(again) == 3
    assert [position["was_cut"] for position in feed.before() + feed.finished()] == [True, False]


def test_a_table_made_anew_is_listed_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = Runs(table(tmp_path / "t", "a"))
    runs.list()
    (tmp_path / "t").rename(tmp_path / "old")
    table(tmp_path / "t", "a", "b")
    assert runs.list() == [b"a", b"b"]
    assert "it was made anew since" in caplog.text


def test_an_old_version_does_not_move_the_position(tmp_path: Path) -> None:
    place = table(tmp_path / "t", "a")
    runs = Runs(place)
    runs.list()
    table(tmp_path / "t", "b", mode="append")
    table(tmp_path / "t", "c", mode="append")
    runs.given = f"{place}@v1"
    assert runs.list() == runs.list() == [b"b"]
    runs.given = place
    assert runs.list() == [b"b", b"c"]


def test_a_run_on_an_old_version_asks_beyond_the_position(tmp_path: Path) -> None:
    place = table(tmp_path / "t", "a")
    runs = Runs(place)
    runs.list()
    table(tmp_path / "t", "b", mode="append")
    runs.given = f"{place}@v1"
    before = keys_of(runs)
    DeltaTable(place).optimize.compact()
    runs.given = place
    assert keys_of(runs) == before, "b is known by the file that it came in"


def keys_of(runs: Runs) -> list[str]:
    feed = Feed(runs.read, asked="x", only_new=True, has_ids=False)
    keys: list[str] = list_sources([runs.given], column="page", feed=feed)["source_key"].to_pylist()
    runs.read = feed.finished()
    return keys


def test_a_glob_that_matches_a_part_of_a_table_moves_no_position_of_the_whole(tmp_path: Path) -> None:
    place = table(tmp_path / "t", "a1", "b2", partition_by="year")
    runs = Runs(f"{place}/year=a*")
    assert runs.list() == [b"a1"]
    assert runs.list() == []
    runs.given = place
    assert runs.list() == [b"a1", b"b2"]


def test_what_could_not_be_listed_is_noted_or_else_holds_the_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = table(tmp_path / "t", "a")
    runs = Runs(place)
    runs.list()
    table(tmp_path / "t", "b", mode="append")

    def left(*files: str) -> Position:
        feed = Feed(runs.read, asked="x", only_new=True, has_ids=False)
        list_sources([place], column="page", feed=feed)
        feed.left(files)
        (position,) = feed.finished()
        return position

    noted = left(f"{place}/x", f"{place}/y")
    assert (noted["version"], noted["was_cut"], noted["unread"]) == (1, False, [f"{place}/x", f"{place}/y"])
    assert "unread" not in left()
    monkeypatch.setattr("pipeline.ingest.feed.MOST_UNREAD", 1)
    for files in ((f"{place}/x", f"{place}/y"), (f"{place}2/x",)):
        held = left(*files)
        assert (held["version"], held["was_cut"]) == (0, True)


def test_a_file_of_a_table_that_two_inputs_name_is_noted_with_both() -> None:
    feed = Feed((), asked="x", only_new=True, has_ids=False)
    for given in ("/t", "/t/year=2026"):
        feed.since(given, "/t", "an id", 1)
    feed.left(["/t/year=2026/a.parquet"])
    assert [position["unread"] for position in feed.finished()] == [["/t/year=2026/a.parquet"]] * 2


def test_a_log_that_is_not_as_delta_has_it_is_one_sentence(tmp_path: Path) -> None:
    runs = Runs(table(tmp_path / "t", "a"))
    runs.list()
    table(tmp_path / "t", "b", mode="append")
    table(tmp_path / "t", "c", mode="append")
    DeltaTable(runs.given).create_checkpoint()
    log = tmp_path / "t" / "_delta_log" / f"{1:020}.json"
    whole = log.read_text()
    for text in ("{", '{"add": {"dataChange": true}}', "[]", '{"add": 1}'):
        log.write_text(text)
        with pytest.raises(ValueError, match=r"version 1 of its log is not as Delta has it"):
            runs.list()
    log.write_text(whole.replace('"path":"', '"path":"../'))
    with pytest.raises(ValueError, match=r"its log adds .*, which it does not hold"):
        runs.list()
    log.write_text(whole.replace('"operation":"WRITE"', '"operation":"WRITE","userMetadata":"a\u2028b"'))
    assert runs.list() == [b"b", b"c"]


def test_a_table_without_rows_yet_is_a_table(lake: Catalog) -> None:
    scans = lake.create_table("docs.scans", rows().schema)
    runs = Runs("iceberg://lake/docs.scans")
    assert runs.list() == []
    scans.append(rows("a"))
    assert runs.list() == [b"a"]
    assert runs.list() == []


@pytest.mark.parametrize("what", ["older", "location"])
def test_a_table_in_a_folder_that_points_elsewhere_is_refused_before_that_is_opened(
    lake: Catalog, tmp_path: Path, what: str
) -> None:
    scans = made(lake, "a")
    runs = Runs(place(scans))
    runs.list()
    scans.append(rows("b"))
    scans.append(rows("c"))
    metadata = Path(plain_uri(scans.metadata_location))
    told = json.loads(metadata.read_text())
    if what == "location":
        told["location"] = str(tmp_path / "other")
    else:
        told["snapshots"][1]["manifest-list"] = str(tmp_path / "no such list.avro")
    metadata.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"names .*(other|no such list\.avro), which lies elsewhere"):
        runs.list()


def test_only_tables_have_a_feed(tmp_path: Path) -> None:
    runs = Runs(parquet(tmp_path / "x.parquet", page=[b"a"]))
    with pytest.raises(ValueError, match="is about Delta and Iceberg tables, and no input is one"):
        runs.list()
    parquet(tmp_path / "in" / "plain" / "x.parquet", page=[b"x"], id=["x"], year=["x"])
    runs = Runs(str(tmp_path / "in"))
    table(tmp_path / "in" / "t", "a")
    assert runs.list() == [b"a", b"x"]
    assert runs.list() == [b"x"], "what is no table is listed, and known by its keys"


@pytest.mark.parametrize("by", ["catalog", "folder"])
def test_rows_of_an_iceberg_table_are_listed_once(lake: Catalog, by: str) -> None:
    scans = made(lake, "a", "b")
    runs = Runs("iceberg://lake/docs.scans" if by == "catalog" else place(scans))
    assert runs.list() == [b"a", b"b"]
    assert runs.list() == []
    scans.append(rows("c", "d"))
    files = {task.file.file_path for task in scans.scan().plan_files()}
    scans.append(rows("e"))
    new = max(files, key=lambda file: Path(file).stat().st_mtime_ns)
    delete_by_position(scans, new, [1])
    assert runs.list() == [b"c", b"e"]
    scans.delete("id = 'e'")  # a file of its own
    assert runs.list() == []


def as_compaction(summary: Summary, previous_summary: Mapping[str, str] | None = None) -> Summary:
    """pyiceberg compacts nothing itself, and knows no word for it when it writes."""
    told = Summary(Operation.OVERWRITE, **summary.additional_properties)
    found = update_snapshot_summaries(told, previous_summary)
    return Summary(Operation.REPLACE, **found.additional_properties)


def test_a_compaction_of_an_iceberg_table_asks_no_row_again(
    lake: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = made(lake, "a")
    runs = Runs("iceberg://lake/docs.scans")
    runs.list()
    scans.append(rows("b"))
    old = [task.file for task in scans.scan().plan_files()]
    scans.append(rows("a", "b"))  # what a compaction writes
    (merged,) = [task.file for task in scans.scan().plan_files() if task.file not in old]
    with scans.manage_snapshots() as manage:
        manage.rollback_to_snapshot(scans.snapshots()[1].snapshot_id)
    monkeypatch.setattr("pyiceberg.table.update.snapshot.update_snapshot_summaries", as_compaction)
    with scans.transaction() as transaction, transaction.update_snapshot().overwrite() as snapshot:
        snapshot.append_data_file(merged)
        for file in old:
            snapshot.delete_data_file(file)
    assert sorted(scans.scan().to_arrow()["id"].to_pylist()) == ["a", "b"]
    assert runs.list() == [b"b"]
    assert runs.list() == []


@pytest.mark.parametrize("what", ["rewritten", "expired"])
def test_what_an_iceberg_table_does_not_tell_is_refused_or_known_by_ids(lake: Catalog, what: str) -> None:
    scans = made(lake, "a", "b")
    runs, with_ids = Runs(place(scans)), Runs(place(scans), id_column="id")
    runs.list()
    with_ids.list()
    first = scans.current_snapshot()
    assert first is not None
    scans.append(rows("c"))
    if what == "rewritten":
        scans.delete("id = 'a'")  # of a file with another row
        why = "wrote old and new rows together"
    else:
        scans.append(rows("d"))
        second = scans.snapshots()[1].snapshot_id
        with scans.transaction() as transaction:
            ExpireSnapshots(transaction).by_ids([first.snapshot_id, second]).commit()
        why = "has expired or was rolled back"
    with pytest.raises(ValueError, match=why):
        runs.list()
    assert with_ids.list() == ([b"b", b"c"] if what == "rewritten" else [b"a", b"b", b"c", b"d"])


@pytest.mark.processes
def test_tables_on_s3_have_a_feed(bucket: str, tmp_path: Path) -> None:
    place, options = f"{bucket}/feed/delta 1#", {"AWS_ALLOW_HTTP": "true"}
    runs = Runs(place)
    for wanted in ([b"a", b"b"], [b"c"], []):
        if wanted:
            write_deltalake(
                address(place), rows(*(id.decode() for id in wanted)), mode="append", storage_options=options
            )
        else:
            DeltaTable(address(place), storage_options=options).optimize.compact()
        assert runs.list() == wanted
    catalog = SqlCatalog(
        "s3", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"{bucket}/feed", **file_properties()
    )
    catalog.create_namespace("docs")
    scans = made(catalog, "a", "b")
    runs = Runs(f"{bucket}/feed/docs/scans")
    assert runs.list() == [b"a", b"b"]
    scans.append(rows("c"))
    assert runs.list() == [b"c"]
    assert runs.list(only_new=False) == [b"a", b"b", b"c"]
    catalog.close()
