"""Rows come out of parcels as they went in, and their pixels lie where they lay."""

import pickle

import numpy as np
import pyarrow as pa
from ray._private.arrow_serialization import _arrow_table_reduce

from pipeline.plan.parcels import PARCELS, buffers_of, pack_rows, pack_table, unpack
from pipeline.plan.rows import COMPLETIONS, DOCUMENTS, GROUP, GROUPS, Row, hand_on, table_of

FACTS: Row = {"kind": DOCUMENTS, "documents": [{"source_key": "a", "page_count": 1}], "open_seconds": 0.5}


def group(number: int) -> Row:
    pixels = np.full(300, number, np.uint8)
    questions = {"item_keys": [f"{number}"], "branch_ids": [[1, 2], []], "note": None}
    return {"kind": GROUP, "uri": f"{number}.pdf", "prefix_ids": [10, 12], "pixels": pixels, **questions}


def addresses(table: pa.Table) -> list[int]:
    return [cell.address for cell in buffers_of(table["pixels"]) if cell.size]


def test_each_prompt_is_a_parcel_and_its_pixels_are_not_copied() -> None:
    rows = [group(1), FACTS, group(2)]
    table = table_of(rows, GROUPS)
    assert addresses(table) == [row["pixels"].ctypes.data for row in (rows[0], rows[2])]
    parcels = pack_rows(table)
    assert parcels.schema.equals(PARCELS)
    assert unpack(parcels, GROUPS).equals(table)
    assert unpack(parcels.slice(1, 2), GROUPS).equals(table.slice(1, 2)), "Ray shares them out as it likes"
    asked, others = hand_on(unpack(parcels, GROUPS), GROUP, COMPLETIONS)
    assert asked["uri"].to_pylist() == ["1.pdf", "2.pdf"]
    assert addresses(asked) == addresses(table)
    assert others.equals(table_of([FACTS], COMPLETIONS))


def test_rows_of_several_tables_are_one_parcel() -> None:
    table = pa.concat_tables(table_of([{"uri": name}], COMPLETIONS) for name in "abc")
    parcels = pack_table(table)
    assert len(parcels) == 1
    assert unpack(pa.concat_tables([parcels, parcels]), COMPLETIONS)["uri"].to_pylist() == [*"abcabc"]
    nothing = pack_table(table.slice(0, 0))
    assert unpack(nothing, COMPLETIONS).equals(COMPLETIONS.empty_table())


def test_ray_pickles_few_parts_of_a_block() -> None:
    """What a block costs Ray grows with them; pixels are parts of their own, which it copies once."""
    parcels = pack_rows(table_of([group(number) for number in range(8)], GROUPS))
    assert [column.num_chunks for column in parcels.columns] == [1, 8]
    found: list[pickle.PickleBuffer] = []
    whole = pickle.dumps(_arrow_table_reduce(parcels), protocol=5, buffer_callback=found.append)
    assert len(whole) < 10_000
    assert sorted(len(part.raw()) for part in found)[:-1] == [16] * 8 + [72] + [300] * 8
