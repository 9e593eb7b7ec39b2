"""Batches of a table's rows in; JSON lines, CSV or Parquet, as they come, out.

Flat rows have no nested values: a struct becomes a column for each of its fields, by their path
(`answer.total`), which are all null where the struct is, and a list becomes JSON. CSV is always flat. In it,
null is an empty cell, and an empty text is a pair of quotes.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from schemas.arrow import json_text

Write = Callable[[pa.Schema, Iterable[pa.RecordBatch], Any], int]
# Signs by which spreadsheets tell a formula: https://owasp.org/www-community/attacks/CSV_Injection
FORMULA: Final = "^[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
BOM: Final = b"\xef\xbb\xbf"  # without it, Excel takes UTF-8 for the machine's own code page


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


def write_spreadsheet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], stream: Any) -> int:
    """CSV for spreadsheets: a text that they would take for a formula begins with a '."""
    stream.write(BOM)
    schema, batches = flattened(schema, batches)
    return write_csv(schema, map(_without_formulas, batches), stream)


def write_parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], stream: Any) -> int:
    """The rows as they are, in one file."""
    rows = 0
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += len(batch)
    return rows


FORMATS: dict[str, Write] = {"jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet}


def flattened(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The same rows, flat. Raises ValueError if two columns would be called the same."""
    found = flat(schema.empty_table()).schema
    return found, (one for batch in batches for one in flat(pa.Table.from_batches([batch])).to_batches())


def flat(table: pa.Table) -> pa.Table:
    """The table without structs and lists. Raises ValueError if two columns would be called the same."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    for number, field in enumerate(table.schema):
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            texts = [None if value is None else json_text(value) for value in table[number].to_pylist()]
            table = table.set_column(number, field.name, pa.array(texts, pa.string()))
    names = table.column_names
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(
            f"two flat columns would be called {doubled}, since a field's own name has a point in it; take "
            "--format jsonl or parquet, without --flat"
        )
    return table


def _without_formulas(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = []
    for column in batch.columns:
        if pa.types.is_string(column.type):
            is_formula = pc.match_substring_regex(column, FORMULA)
            column = pc.if_else(is_formula, pc.binary_join_element_wise("'", column, ""), column)
        columns.append(column)
    return pa.record_batch(columns, schema=batch.schema)
