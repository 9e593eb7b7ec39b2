"""OUT/run.json: the settings of the last run, and its counts.

A run writes it when it begins, without counts and with `finished_at` null, and again as its last act. A run
that continues others has a run_id of its own, which stands in the rows that it wrote. Its counts are of all
documents that it listed; `reused` says how many of them earlier runs had done, and which runs.
"""

import json
import platform
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from pipeline.child_process import ROOT
from pipeline.ingest.storage import explain, file_system
from pipeline.ingest.whole_file import whole_file

NAME = "run.json"
LIBRARIES = ("ray", "torch", "pyarrow", "deltalake", "pymupdf", "pillow", "pydantic", "tiktoken")


def check_reachable(output: str) -> None:
    """Raises ValueError, in one sentence, if the output's place cannot be looked at: no bucket, no right."""
    filesystem, folder = _open(output)
    try:
        filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    except OSError as error:
        raise ValueError(f"output {explain(output, error)}") from error


def write_record(output: str, record: dict[str, Any]) -> str:
    """Writes OUT/run.json in one step; returns its path. Raises ValueError if it cannot."""
    filesystem, folder = _open(output)
    try:
        with whole_file(filesystem, f"{folder}/{NAME}") as stream:
            stream.write((json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise ValueError(f"output {explain(output, error)}") from error
    return f"{output.rstrip('/')}/{NAME}"


def read_record(output: str) -> dict[str, Any]:
    """OUT/run.json of a finished run. Raises ValueError if there is none."""
    record = read_begun(output)
    if not record["finished_at"]:
        raise ValueError(
            f"{output} holds a run that has not finished: the same command, given again, continues it"
        )
    return record


def read_begun(output: str) -> dict[str, Any]:
    """OUT/run.json, of a run that may not have finished. Raises ValueError if there is none."""
    filesystem, folder = _open(output)
    path = f"{folder}/{NAME}"
    try:
        if filesystem.get_file_info(path).type != pafs.FileType.File:
            raise ValueError(f"{output} holds no finished run: there is no {NAME}")
        with filesystem.open_input_stream(path) as stream:
            record: dict[str, Any] = json.loads(stream.read())
    except OSError as error:
        raise ValueError(f"output {explain(output, error)}") from error
    return record


def versions() -> dict[str, str]:
    """Of Quire, Python and the libraries that shape the answers."""
    quire = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return {"quire": quire, "python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def _open(output: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in output:
        output = str(Path(output).expanduser().absolute())
    try:
        filesystem, folder = file_system(output)  # asks AWS for the bucket's region
    except OSError as error:
        raise ValueError(f"output {explain(output, error)}") from error
    return filesystem, folder.rstrip("/")
