"""Deletes rows of a Delta table as Spark does, by a deletion vector: deltalake reads these, but writes none.

https://github.com/delta-io/delta/blob/master/PROTOCOL.md#deletion-vector-format
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path

from deltalake import DeltaTable, TableFeatures

Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
MAGIC = 1681511377
NO_RUNS = 12346  # a roaring bitmap without run containers


def delete_by_vector(uri: str, rows: Sequence[int]) -> None:
    """Deletes these rows, counted from 0, of a table's only file."""
    table = DeltaTable(uri)
    table.alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
    entries = [
        json.loads(line)
        for path in sorted(Path(uri, "_delta_log").glob("*.json"))
        for line in path.read_text().splitlines()
    ]
    (add,) = [entry["add"] for entry in entries if "add" in entry]
    bitmap = struct.pack("<II", NO_RUNS, 1) + struct.pack("<HHI", 0, len(rows) - 1, 16)
    bitmap += struct.pack(f"<{len(rows)}H", *sorted(rows))
    data = struct.pack("<IQI", MAGIC, 1, 0) + bitmap
    vector = {
        "storageType": "i",
        "pathOrInlineDv": _z85(data + bytes(-len(data) % 4)),
        "sizeInBytes": len(data),
        "cardinality": len(rows),
    }
    removed = {"path": add["path"], "dataChange": True, "deletionTimestamp": 1, "size": add["size"]}
    lines = [{"remove": removed}, {"add": add | {"deletionVector": vector}}]
    entry = Path(uri, "_delta_log", f"{DeltaTable(uri).version() + 1:020}.json")
    entry.write_text("\n".join(map(json.dumps, lines)))


def _z85(data: bytes) -> str:
    """ZeroMQ's base 85: five characters for four bytes."""
    text = ""
    for (number,) in struct.iter_unpack(">I", data):
        text += "".join(Z85[number // 85**power % 85] for power in range(4, -1, -1))
    return text
