"""A data set by its name or its place: its family, and its rows in the order in which they are published.

In: a name that Quire knows (docvqa), owner/name of the hub, or a path: a file, a folder or s3://. Out: the
rows, read some at a time. What is not there, not whole or not readable is a ValueError of one sentence.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.evaluation.datasets import (
    blocks,
    charts,
    conversations,
    documents,
    exams,
    extraction,
    pages,
    photographs,
    programs,
    words,
)
from jobs.evaluation.datasets.family import Family
from jobs.evaluation.datasets.hub import download
from pipeline.ingest import storage

FAMILIES: Final = (
    *documents.FAMILIES, *charts.FAMILIES, *photographs.FAMILIES, *exams.FAMILIES, *words.FAMILIES,
    *pages.FAMILIES, *blocks.FAMILIES, *programs.FAMILIES,
    *extraction.FAMILIES, *conversations.FAMILIES,
)  # fmt: skip
SUFFIXES: Final = (".parquet", ".jsonl", ".json")
EXAMPLES: Final = 5
_BATCH_ROWS: Final = 8  # decoded at once: images may have megabytes
_SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})\.parquet$")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A data set that is there."""

    name: str
    family: Family | None
    """None: it has the generic form."""
    files: tuple[str, ...]
    examples: tuple[str, ...]
    folder: str

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each row with a name: that of its file, and its number. Raises ValueError."""
        solved = _by_key(self.family, self.examples)
        for file in self.files:
            start = os.path.relpath(file, self.folder) if "://" not in file else file.rpartition("/")[2]
            for number, row in enumerate(_read(file)):
                if self.family and self.family.example_key:
                    row["examples"] = solved[row[self.family.example_key]][:EXAMPLES]
                yield f"{start.rpartition('.')[0]}-{number}", {**row, "folder": file.rpartition("/")[0]}


def find(given: str) -> Found:
    """The data set of this name or at this place. Raises ValueError."""
    if os.path.exists(os.path.expanduser(given)) or given.startswith(("s3://", "/", "./", "../", "~")):
        return _at(given, None)
    known = {family.name: family for family in FAMILIES}
    family = known.get(given.lower())
    if family is None and not re.fullmatch(r"[\w.-]+/[\w.-]+", given):
        raise ValueError(
            f"there is no data set {given}: give a path, owner/name of the hub, or one of "
            f"{', '.join(name for name, one in known.items() if one.hub)}"
        )
    if family is not None and not family.hub:
        raise ValueError(f"{family.name} is not on the hub: give the path of its folder")
    if family is None:  # the hub's own name of one that is known
        family = next((one for one in FAMILIES if one.hub and one.hub.lower() == given.lower()), None)
    globs = (family.files, family.examples, family.beside) if family else ()
    wanted = list(filter(None, globs)) or None
    return _at(download(family.hub if family else given, wanted), family)


def _at(place: str, family: Family | None) -> Found:
    """The data set in a file or a folder; its columns tell its family where no name did."""
    try:
        found = storage.find(place)
    except OSError as error:
        raise ValueError(storage.explain(place, error)) from error
    folder = found.folder or next(iter(found.entries)).uri.rpartition("/")[0]
    uris = [entry.uri for entry in found.entries if entry.uri.lower().endswith(SUFFIXES)]
    inside = {uri: uri.removeprefix(f"{folder}/") for uri in uris}
    if not uris:
        raise ValueError(f"{place} holds no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")
    if family is None:
        family = _told(inside) or _family_of(uris)
    if family is not None and found.folder is not None:
        matching = [uri for uri in uris if _matches(inside[uri], family.files)]
        others = [uri for uri in uris if not _matches(inside[uri], family.examples or "")]
        files = matching or others
    else:
        files = uris
    examples = [uri for uri in uris if family and family.examples and _matches(inside[uri], family.examples)]
    _check_shards(files)
    return Found(
        name=family.name if family else os.path.basename(place.rstrip("/")).rpartition(".")[0] or place,
        family=family,
        files=tuple(files),
        examples=tuple(one for one in examples if one not in files),
        folder=folder,
    )


def _matches(path: str, pattern: str) -> bool:
    """A glob on the last parts of a path, so that a single folder of a repository is enough."""
    return (
        fnmatch(path, pattern) or fnmatch(path, pattern.rpartition("/")[2]) or fnmatch(path, f"*/{pattern}")
    )


def _told(inside: Mapping[str, str]) -> Family | None:
    """The family that the names of its files tell, if one of them has its columns."""
    for family in FAMILIES:
        files = [uri for uri, path in inside.items() if family.telling and _matches(path, family.telling)]
        if files and set(family.columns) <= set(next(_read(files[0]), {})):
            return family
    return None


def _family_of(files: Sequence[str]) -> Family | None:
    """The family whose columns the first row has, the most telling one."""
    first = next(_read(files[0]), None)
    if first is None:
        raise ValueError(f"{files[0]} has no rows")
    fitting = [family for family in FAMILIES if not family.telling and set(family.columns) <= set(first)]
    return max(fitting, key=lambda family: len(family.columns), default=None)


def _check_shards(files: Sequence[str]) -> None:
    """Raises ValueError where one of the numbered parts of a split is missing."""
    parts: Mapping[tuple[str, int], set[int]] = defaultdict(set)
    for file in files:
        if shard := _SHARD.search(file):
            parts[file[: shard.start()], int(shard[2])].add(int(shard[1]))
    for (start, count), there in parts.items():
        if missing := sorted(set(range(count)) - there):
            raise ValueError(
                f"{start}: part {missing[0]} of {count} is missing ({len(missing)} in all): download it again"
            )


def _by_key(family: Family | None, files: Sequence[str]) -> Mapping[Any, list[dict[str, Any]]]:
    solved: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    if family is not None and family.example_key:
        for file in files:
            for row in _read(file):
                solved[row[family.example_key]].append(row)
    return solved


def _read(file: str) -> Iterator[dict[str, Any]]:
    try:
        if file.lower().endswith(".parquet"):
            with pq.ParquetFile(storage.open_input(file), pre_buffer=False, buffer_size=2**20) as parquet:
                for batch in parquet.iter_batches(_BATCH_ROWS, use_threads=False):
                    yield from batch.to_pylist()
            return
        with storage.open_input(file) as source:
            text = source.read().decode()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file} is no whole Parquet file; download it again: {error}") from error
    except OSError as error:
        raise ValueError(storage.explain(file, error)) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no UTF-8 text: {error}") from error
    yield from _parsed(file, text)


def _parsed(file: str, text: str) -> Iterator[dict[str, Any]]:
    """Objects, one a line; or a list of them, bare or under "data"; or a single one."""
    try:
        if file.lower().endswith(".json"):
            whole = json.loads(text)
            rows = whole.get("data", [whole]) if isinstance(whole, dict) else whole
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"{file} is not JSON, or not whole; download it again: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{file} holds no objects, one for each question")
    yield from rows
