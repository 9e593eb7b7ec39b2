"""Rows of answers/markdown in; a file for each document, its pages in their order, out.

The rows of a document lie in several files of the table, in any order. They go through a private file of
SQLite, which sorts them on disk: in memory is one document at a time.
"""

import hashlib
import json
import re
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa

from jobs.exports.destination import Destination

PAGE_COLUMNS = ["source_key", "uri", "page_first", "confidence", "answer"]
MISSING_COLUMNS = ["source_key", "uri", "page_first", "target"]
UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')  # on one system or another
MAX_NAME = 200  # bytes: file systems allow 255


class Page(NamedTuple):
    """One page of a document; without text where its transcription failed."""

    name: str
    source_key: str
    uri: str
    number: int
    confidence: float | None
    text: str | None


def write_documents(
    pages: Iterable[pa.RecordBatch], missing: Iterable[pa.RecordBatch], model: str, destination: Destination
) -> int:
    """A file for each document with a page; returns how many. Raises ValueError, sqlite3.Error."""
    files = 0
    with _sorted(pages, missing) as rows:
        for (name, _), of_document in groupby(rows, key=lambda page: (page.name, page.source_key)):
            text = document_markdown(list(of_document), model)
            if text is not None:
                with destination.open(name) as stream:
                    stream.write(text.encode())
                files += 1
    return files


def document_markdown(pages: list[Page], model: str) -> str | None:
    """The pages of a document behind a head in YAML, whose strings are JSON's; None if all of them failed."""
    there = [page for page in pages if page.text is not None]
    if not there:
        return None
    missing = [page.number for page in pages if page.text is None]
    head = [
        f"uri: {json.dumps(there[0].uri, ensure_ascii=False)}",
        f"model: {json.dumps(model, ensure_ascii=False)}",
        "pages:",
        *(f"  - {{page: {page.number}, confidence: {page.confidence:.4g}}}" for page in there),
        *([f"pages_missing: {json.dumps(missing)}"] if missing else []),
    ]
    parts = [f"<!-- page {page.number} -->\n\n{(page.text or '').rstrip()}".rstrip() for page in there]
    return "\n".join(["---", *head, "---", ""]) + "\n" + "\n\n".join(parts) + "\n"


@contextmanager
def _sorted(pages: Iterable[pa.RecordBatch], missing: Iterable[pa.RecordBatch]) -> Iterator[Iterator[Page]]:
    """All pages by document and number, each with the name of its document's file."""
    with tempfile.TemporaryDirectory(prefix="quire-export-") as folder:
        database = sqlite3.connect(f"{folder}/pages", isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            database.execute(
                "CREATE TABLE pages "
                "(name TEXT, folded TEXT, key TEXT, uri TEXT, page INT, sure REAL, text TEXT)"
            )
            database.execute("BEGIN")
            for batch in pages:
                rows = zip(*(batch[column].to_pylist() for column in PAGE_COLUMNS), strict=True)
                _insert(database, ((key, uri, page, sure, text) for key, uri, page, sure, text in rows))
            for batch in missing:
                failed = (row for row in batch.to_pylist() if row["page_first"] is not None)
                _insert(
                    database,
                    ((row["source_key"], row["uri"], row["page_first"], None, None) for row in failed),
                )
            database.execute("COMMIT")
            query = """
                SELECT name, key, uri, page, sure, text, several FROM pages
                JOIN (SELECT folded AS one, count(DISTINCT key) > 1 AS several FROM pages GROUP BY folded)
                ON folded = one ORDER BY folded, key, page
            """
            yield (
                Page(_distinct(name, key) if several else f"{name}.md", key, uri, page, sure, text)
                for name, key, uri, page, sure, text, several in database.execute(query)
            )
        finally:
            database.close()


def _insert(
    database: sqlite3.Connection, rows: Iterable[tuple[str, str, int, float | None, str | None]]
) -> None:
    named = ((name := file_name(uri), name.casefold(), key, uri, *rest) for key, uri, *rest in rows)
    database.executemany("INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?, ?)", named)


def file_name(uri: str) -> str:
    """A name for the file of a document that every system allows. Example: s3://b/in/a:1.pdf is a_1.pdf"""
    name = UNSAFE.sub("_", uri.rsplit("/", 1)[-1]).strip(". ") or "_"
    if len(name.encode()) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[:MAX_NAME].decode(errors='ignore')}-{digest}"


def _distinct(name: str, key: str) -> str:
    """Where several documents have the same name, each has a part of its key in it."""
    return f"{name}-{key[:8]}.md"
