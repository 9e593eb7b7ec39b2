"""Batches of a table's rows in; JSON lines, CSV or Parquet, as they come, out.

CSV has no nested values: a struct becomes a column for each of its fields, by their path (`answer.total`),
and a list becomes JSON. Null is an empty cell, and an empty text is a pair of quotes.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from schemas.arrow import json_text

Write = Callable[[pa.Schema, Iterable[pa.RecordBatch], Any], int]


def write_jsonl(schema: pa.Schema, batches: Iterable[pa.RecordBatch], stream: Any) -> int:
    """An object a line; decimals are numbers, digit by digit. Returns the rows, as the others do."""
    rows = 0
    for batch in batches:
        stream.write("".join(f"{json_text(row)}\n" for row in batch.to_pylist()).encode())
        rows += len(batch)
    return rows


def write_csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch], stream: Any) -> int:
    """A line a row, behind one with the names of the columns."""
    rows = 0
    with pacsv.CSVWriter(stream, flat(schema.empty_table()).schema) as writer:
        for batch in batches:
            writer.write_table(flat(pa.Table.from_batches([batch])))
            rows += len(batch)
    return rows


def write_parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], stream: Any) -> int:
    """The rows as they are, in one file."""
    rows = 0
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += len(batch)
    return rows


FORMATS: dict[str, Write] = {"jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet}


def flat(table: pa.Table) -> pa.Table:
    """The table without structs and lists. Raises ValueError if two columns would be called the same."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    for number, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [None if value is None else json_text(value) for value in table[number].to_pylist()]
            table = table.set_column(number, field.name, pa.array(texts, pa.string()))
    names = table.column_names
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(
            f"--format csv: two columns would be called {doubled}, since a field's own name has a point in "
            "it; take jsonl or parquet"
        )
    return table
