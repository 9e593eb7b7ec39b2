"""The files behind an input in; those that are documents, as rows of SOURCES, out.

The files of a folder are documents by their suffix, or else by their first bytes; the others are skipped and
counted in the log. A file that the person named is always a document.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.ingest import parquet, storage
from pipeline.ingest.entries import PART_ROWS
from pipeline.ingest.file_types import OFFICE_SUFFIXES, SNIFFED_BYTES, SUFFIXES, sniff
from pipeline.ingest.libreoffice import installation
from pipeline.ingest.object_uris import is_object
from pipeline.ingest.sources import SOURCES, batch_of, keys_of
from pipeline.ingest.storage import Found

_log = logging.getLogger(__name__)

INSTALL = " (install LibreOffice to have office files read)"


class ParquetAloneError(Exception):
    """An input is Parquet and holds no other documents: they are in a column of it."""


def file_sources(given: str, found: Found) -> pa.Table:
    """The documents among the files of an input.

    Raises ValueError: there is none; ParquetAloneError; and OSError.
    """
    batches = list(map(_sources, _documents(given, found)))
    return pa.Table.from_batches(batches, SOURCES)


def _sources(files: pa.RecordBatch) -> pa.RecordBatch:
    uris = files["uri"]
    parts = [uris, files["size"].cast(pa.string()), files["version"].cast(pa.string())]
    texts = pc.binary_join_element_wise(*parts, "|").cast(pa.binary()).to_numpy(zero_copy_only=False)
    return batch_of(uri=uris, source_key=keys_of(texts), size=files["size"], location=uris)


def _documents(given: str, found: Found) -> Iterator[pa.RecordBatch]:
    """The files of an input that are documents, some at a time."""
    table = found.entries.table
    if found.folder is None:
        (file,) = found.entries
        if suffix_of(file.uri) not in SUFFIXES and parquet.is_parquet(file.uri):
            raise ParquetAloneError(given)
        yield from table.to_batches()
        return
    documents, skipped = 0, Counter[str]()
    suffixes = SUFFIXES | OFFICE_SUFFIXES if installation() else SUFFIXES
    for files in table.to_batches(PART_ROWS):
        taken = _are_documents(files["uri"], suffixes)
        if not taken.all():
            skipped.update(map(suffix_of, files["uri"].filter(pa.array(~taken)).to_pylist()))
            files = files.filter(pa.array(taken))
        documents += len(files)
        yield files
    remedy = INSTALL if OFFICE_SUFFIXES & skipped.keys() else ""
    if not documents:
        if parquet.SUFFIXES & skipped.keys():
            raise ParquetAloneError(given)
        kinds = f", only {_shown(skipped)}" if skipped else ": it is empty"
        raise ValueError(f"input {given} holds no PDF and no image{kinds}{remedy}")
    log_skipped(given, skipped, f"no documents{remedy}")


def _are_documents(uris: pa.Array, suffixes: Iterable[str]) -> NDArray[np.bool_]:
    # As `suffix_of` has it: a name of nothing but a suffix has none.
    pattern = "(?i)[^/](?:" + "|".join(map(re.escape, sorted(suffixes))) + ")$"
    has_suffix = pc.match_substring_regex(uris, pattern)
    found: NDArray[np.bool_] = has_suffix.to_numpy(zero_copy_only=False).copy()
    others = uris.filter(pa.array(~found)).to_pylist()
    # In a cloud each look at a file is a request: only names that say nothing are worth one.
    unclear = [not (is_object(uri) and suffix_of(uri)) for uri in others]
    looked = iter(
        starting([uri for uri, is_unclear in zip(others, unclear, strict=True) if is_unclear], _is_document)
    )
    found[~found] = [is_unclear and next(looked) for is_unclear in unclear]
    return found


def _is_document(start: bytes) -> bool:
    return sniff(start) is not None


def starting(uris: Sequence[str], is_wanted: Callable[[bytes], bool]) -> list[bool]:
    """Whether the first bytes of each file are wanted."""
    if not uris:
        return []
    with ThreadPoolExecutor(16) as threads:
        return list(map(is_wanted, threads.map(_start, uris)))


def log_skipped(given: str, skipped: Counter[str], what: str) -> None:
    """Says how many files were not taken, by suffix."""
    if skipped:
        _log.warning("%s: skipped %d files that are %s: %s", given, skipped.total(), what, _shown(skipped))


def _shown(skipped: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in skipped.most_common(5))


def suffix_of(uri: str) -> str:
    """The suffix of a file's name in lower case, as pathlib has it, which takes five times as long."""
    name = uri[uri.rfind("/") + 1 :]
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def _start(uri: str) -> bytes:
    """Its first bytes, to tell what it is; nothing if it cannot be read."""
    try:
        return storage.read_start(uri, SNIFFED_BYTES)
    except OSError:
        return b""
