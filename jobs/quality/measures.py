"""The quality of an output's rows, run by run: a number for each document, out of the tables.

In: an output, and the tables that its run.json names. Out: measures. `failures` of a source is 1 for a
document with a failed item; `nulls` of a field is 1 for a document in whose answers the field is null
throughout; `confidence` is the mean over a document's answers. A document counts once, whatever its pages:
they are alike. Answers that are shared with an identical item do not count.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray

from pipeline.commit.tables import (
    Table,
    absolute_uri,
    handle_of,
    is_of_answers,
    is_there,
    read_file,
)
from pipeline.ingest.delta import plain
from pipeline.ingest.fetching import is_web

Kind = Literal["failures", "nulls", "confidence"]
Values = NDArray[np.floating[Any]]

MOST_ROWS: Final = (
    1_000_000  # of a table that are read, from its newest files on: a run's end must not take long
)

MOST_SOURCES: Final = 100  # where there are more folders, a folder says little: all are one source


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is measured, with each run's documents."""

    kind: Kind
    of: str
    """A source, a field or a table of answers."""
    runs: dict[str, Values] = field(default_factory=dict)
    """By run_id, which begins with the time; a value a document."""


def read_measures(output: str, tables: Mapping[str, str]) -> list[Measure]:
    """All measures of an output. `tables` are those of run.json. Raises ValueError."""
    root = absolute_uri(output)
    try:
        found = _of_documents(_rows(f"{root}/{tables['documents']}", ["run_id", "uri", "items_failed"]))
        for name, path in tables.items():
            if is_of_answers(name):
                found += _of_answers(path, f"{root}/{path}")
    except (OSError, DeltaError) as error:
        raise ValueError(f"the tables of {output} cannot be read: {plain(error)}") from error
    return found


def _of_documents(rows: pa.Table) -> list[Measure]:
    uris = rows["uri"].to_pylist()
    sources = pa.array(sources_of(uris), pa.string())
    failed = pc.cast(pc.greater(rows["items_failed"], 0), pa.float64())
    return [
        Measure(kind="failures", of=source, runs=_by_run(rows["run_id"].filter(mine), failed.filter(mine)))
        for source in sorted(set(sources.to_pylist()))
        for mine in [pc.equal(sources, source)]
    ]


def sources_of(uris: Sequence[str]) -> list[str]:
    """The source of each document: the first folder below the one that holds them all, or that one.

    Example: of s3://b/in/x/1.pdf, s3://b/in/x/y/2.pdf and s3://b/in/3.pdf they are s3://b/in/x, twice, and s3://b/in.
    """
    # The query of a web address may hold a signature, and is no place.
    places = (uri.partition("?")[0] if is_web(uri) else uri for uri in uris)
    folders = [place.split("#")[0].split("/")[:-1] for place in places]
    if not folders:
        return []
    first, last = min(folders), max(folders)
    common = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), None)
    depth = min(len(first), len(last)) if common is None else common
    found = ["/".join(folder[: depth + 1]) for folder in folders]
    return found if len(set(found)) <= MOST_SOURCES else ["/".join(folders[0][:depth])] * len(folders)


def _of_answers(path: str, uri: str) -> list[Measure]:
    schema = pa.schema(handle_of(uri).schema().to_arrow())
    kind = schema.field("answer").type
    fields = [one.name for one in kind] if pa.types.is_struct(kind) else []
    columns = ["run_id", "source_key", "shared_from", "confidence", *(["answer"] if fields else [])]

    def narrowed(rows: pa.Table) -> pa.Table:
        """Of one file: its answers themselves are too much to keep."""
        rows = rows.filter(pc.is_null(rows["shared_from"]))
        kept = rows.select(["run_id", "source_key", "confidence"])
        for name in fields:
            is_null = pc.cast(pc.is_null(pc.struct_field(rows["answer"], name)), pa.float64())
            kept = kept.append_column(f"null {name}", is_null)
        return kept

    table = _rows(uri, columns, narrowed)
    whole = table.group_by(["run_id", "source_key"]).aggregate(
        [("confidence", "mean"), *((f"null {name}", "min") for name in fields)]
    )
    measures = [Measure(kind="confidence", of=path, runs=_by_run(whole["run_id"], whole["confidence_mean"]))]
    return measures + [
        Measure(kind="nulls", of=f"{path}: {name}", runs=_by_run(whole["run_id"], whole[f"null {name}_min"]))
        for name in fields
    ]


def _by_run(run_ids: pa.ChunkedArray, values: pa.ChunkedArray) -> dict[str, Values]:
    return {
        run_id: values.filter(pc.equal(run_ids, run_id)).drop_null().to_numpy().astype(np.float64)
        for run_id in sorted(pc.unique(run_ids).to_pylist())
    }


def _rows(
    uri: str, columns: Sequence[str], narrowed: Callable[[pa.Table], pa.Table] = lambda rows: rows
) -> pa.Table:
    """These columns of a table's newest files, each file narrowed before the next is read."""
    if not is_there(uri):
        raise ValueError(f"there is no table at {uri}; a run's tables lie under its --output")
    handle = handle_of(uri)
    schema = pa.schema(handle.schema().to_arrow())
    table = Table(name="", uri=uri, schema=schema)
    empty = pa.schema([schema.field(name) for name in columns]).empty_table()
    newest = _newest(pa.table(handle.get_add_actions()))
    return pa.concat_tables(
        [narrowed(empty), *(narrowed(read_file(table, path, columns)) for path in newest)]
    )


def _newest(added: pa.Table) -> Iterator[str]:
    rows = 0
    for file in added.sort_by([("modification_time", "descending")]).to_pylist():
        if rows >= MOST_ROWS:
            return
        rows += file["num_records"] or 0
        yield file["path"]
