"""Files of other tools, which write every column as optional, are read as the table's own."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commit.delta_log import Change
from pipeline.commit.lease import Lease
from pipeline.commit.optional_columns import optional, required, required_table
from pipeline.commit.tables import (
    Table,
    create_tables,
    handle_of,
    paths_of,
    read_file,
    read_table,
    stream_rows,
    stream_table,
    write_rows,
)
from schemas.arrow import to_table
from schemas.rows import Box, answer_row
from schemas.targets import Receipt
from tests.pipeline.stored import RECEIPT, answer

POINT = pa.struct([pa.field("x", pa.float64(), False), pa.field("name", pa.string(), False)])
LINE = pa.struct(
    [pa.field("begin", POINT, False), pa.field("end", POINT), pa.field("price", pa.decimal128(9, 2), False)]
)
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), False),
        pa.field("box", POINT),
        pa.field("line", LINE),
        pa.field("lines", pa.list_(pa.field("element", LINE, False)), False),
        pa.field("names", pa.list_(pa.field("element", pa.string()))),
        pa.field("scores", pa.map_(pa.string(), pa.float64()), False),
    ],
    {b"schema_version": b"1"},
)
POINTS = st.fixed_dictionaries({"x": st.floats(-9, 9), "name": st.sampled_from(["", "a"])})
LINES = st.fixed_dictionaries({"begin": POINTS, "end": st.none() | POINTS, "price": st.just(Decimal("1.20"))})
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(["a", "b"]),
            "box": st.none() | POINTS,
            "line": st.none() | LINES,
            "lines": st.lists(LINES, max_size=3),
            "names": st.none() | st.lists(st.none() | st.just("c"), max_size=2),
            "scores": st.lists(st.tuples(st.just("d"), st.floats(0, 1)), max_size=1),
        }
    ),
    max_size=5,
)


@given(ROWS, st.integers(0, 3))
def test_rows_stay(rows: list[dict[str, Any]], cut: int) -> None:
    """Also those behind the first of a batch that is cut."""
    own = pa.Table.from_pylist(rows, SCHEMA)
    theirs = pa.Table.from_pylist(rows, optional(SCHEMA)).slice(cut)
    found = required_table(theirs, SCHEMA)
    found.validate(full=True)
    assert found.schema.equals(SCHEMA, check_metadata=True)
    assert found.to_pylist() == own.to_pylist()[cut:]
    sink = pa.BufferOutputStream()
    pq.write_table(found, sink)  # refuses a required column that lacks a value
    assert pq.read_table(pa.BufferReader(sink.getvalue())).to_pylist() == own.to_pylist()[cut:]


WHOLE = {"begin": {"x": 1.0, "name": "a"}, "end": None, "price": Decimal(1)}


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"key": None}, "key"),
        ({"box": {"x": None, "name": "a"}}, "x"),
        ({"line": WHOLE | {"begin": None}}, "begin"),
        ({"lines": [None]}, "element"),
        ({"lines": [WHOLE | {"end": {"x": 1.0, "name": None}}]}, "name"),
    ],
    ids=str,
)
def test_what_really_lacks_a_value_is_an_error(wrong: Mapping[str, Any], name: str) -> None:
    whole: dict[str, Any] = {"key": "a", "box": None, "line": None, "lines": [], "names": None, "scores": []}
    batches = pa.Table.from_pylist([{**whole, **wrong}], optional(SCHEMA)).to_batches()
    with pytest.raises(pa.ArrowInvalid, match=f"{name} is absent in a row"):
        list(required(batches, SCHEMA))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Of two receipts, one whose page was cropped, in a file as another tool writes it."""
    tables = create_tables(str(tmp_path), Receipt)
    found = tables["answers"]
    rows = [answer(name, RECEIPT, Receipt) for name in "ab"]
    rows[1] = rows[1].model_copy(update={"crop": Box(x0=0, y0=0, x1=1, y1=0.5)})
    file = write_rows(found, to_table(answer_row(Receipt), rows))
    with Lease(tables, "run") as lease:
        lease.commit("answers", Change(added=[file]))
    path = f"{found.uri}/{file.path}"
    pq.write_table(pa.Table.from_pylist(pq.read_table(path).to_pylist(), optional(found.schema)), path)
    with pytest.raises(pa.ArrowInvalid, match="Can't cast to non-nullable field 'x0'"):
        pq.read_table(path, schema=found.schema)
    return found


def test_a_table_is_read_as_its_own_behind_such_a_tool(table: Table) -> None:
    (path,) = paths_of(handle_of(table.uri))
    rows = read_file(table, path, table.schema.names)
    assert rows.schema.equals(table.schema)
    assert [None if box is None else box["y1"] for box in rows["crop"].to_pylist()] == [None, 0.5]
    assert read_table(table.uri) == rows
    schema, batches = stream_table(table.uri, ["crop", "uri"])
    assert pa.Table.from_batches(batches, schema) == rows.select(["crop", "uri"])
    wanted = stream_rows(table, [path], table.schema.names, lambda batch: pc.is_valid(batch["crop"]))
    assert pa.Table.from_batches(wanted) == rows.slice(1)
    again = write_rows(table, rows)
    assert read_file(table, again.path, table.schema.names) == rows
