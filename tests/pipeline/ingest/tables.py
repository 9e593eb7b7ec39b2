"""Tables of documents: each one's bytes are its id."""

from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from pipeline.ingest.iceberg import plain_uri


def table(place: Path, *ids: str, **options: object) -> str:
    """A Delta table with a document, its id as bytes, for each id."""
    place.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.table({"id": list(ids), "year": [id[0] for id in ids], "page": [id.encode() for id in ids]})
    write_deltalake(str(place), rows, **options)  # type: ignore[call-overload]  # passed on as they came
    return str(place)


def rows(*ids: str, name: str = "page") -> pa.Table:
    """A document, its id as bytes, for each id."""
    pages = pa.array([id.encode() for id in ids], pa.binary())
    return pa.table({"id": pa.array(ids, pa.string()), name: pages})


def made(catalog: Catalog, *ids: str) -> Table:
    table = catalog.create_table("docs.scans", rows().schema)
    table.append(rows(*ids))
    return table


def place(table: Table) -> str:
    return plain_uri(table.location())
