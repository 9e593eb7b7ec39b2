"""OUT/heartbeat.json: the last sign of life of a run that has had nothing to commit for a while.

It is one file, which is written over: signs of life in a table's log would fill it, three thousand a day.
"""

import json
import time

import pyarrow.fs as pafs

from pipeline.ingest.storage import file_system
from pipeline.ingest.whole_file import whole_file

NAME = "heartbeat.json"


def write_heartbeat(root: str, run_id: str) -> None:
    """Says that a run is alive, in one step. Raises OSError."""
    filesystem, path = _place(root)
    with whole_file(filesystem, path) as stream:
        stream.write(json.dumps({"run_id": run_id, "at": time.time()}).encode())


def last_heartbeat(root: str, run_id: str) -> float:
    """When a run last said so, in seconds since 1970; 0 if it did not. Raises OSError."""
    filesystem, path = _place(root)
    if filesystem.get_file_info(path).type == pafs.FileType.NotFound:
        return 0.0
    with filesystem.open_input_stream(path) as stream:
        said = json.loads(stream.read())
    return float(said["at"]) if said["run_id"] == run_id else 0.0


def _place(root: str) -> tuple[pafs.FileSystem, str]:
    filesystem, folder = file_system(root)
    return filesystem, f"{folder.rstrip('/')}/{NAME}"
