"""Prices keys and commits: what the driver does for each document besides having it answered.

No document is opened and no model is asked. The first run takes in synthetic results, one page, one question
and one answer a document, and commits them. The second run lists the same documents and a tenth more. It
finds those that are left, and the answers that these may share.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow as pa

from jobs.bench.flags import new_parser
from jobs.bench.printing import print_json, print_table
from pipeline.commit.document_progress import Counts, DocumentProgress
from pipeline.commit.lease import Lease
from pipeline.commit.merged_rows import MergedRows
from pipeline.commit.resume import find_remaining
from pipeline.commit.stale_rows import StaleRows
from pipeline.commit.tables import create_tables
from pipeline.commit.writer import Writer
from pipeline.dedup.registry import Registry
from pipeline.dedup.resolver import Resolver
from pipeline.ingest.sources import SOURCES
from pipeline.plan.keys import item_key
from pipeline.plan.limits import MIB, Limits
from pipeline.plan.plan import Ask, Plan
from pipeline.plan.rows import ANSWER, DOCUMENTS, Row, result_schema, table_of
from schemas.arrow import to_row
from schemas.rows import Answer
from schemas.targets import Question

BATCH = 64  # rows that the driver is given at a time
QUESTION = Question(id="total", text="What is the total?")
ASK = Ask(
    number=0,
    settings_key="0" * 32,
    questions=(QUESTION,),
    target=None,
    scope="page",
    max_new_tokens=128,
)
PLAN = Plan(
    run_id="first",
    asks=(ASK,),
    max_pages=1,
    pages=(1, None),
    max_side=1024,
    model="none",
    patch_size=16,
    vocab_size=1,
    limits=Limits(),
    passwords=(),
    roots=(),
)


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("keys", __doc__)
    parser.add_argument("--documents", type=int, default=100_000, help="synthetic ones, with an answer each")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for each part of the work."""
    rows = price(arguments.documents)
    title = f"keys and commits of {arguments.documents:,} documents on a local disk"
    print_table(title, rows, left=("part",))
    print_json("keys", rows, documents=arguments.documents)


def price(documents: int) -> list[dict[str, Any]]:
    """Milliseconds a document, and mebibytes that were added at most, of each part."""
    sources = _listing(documents)
    with tempfile.TemporaryDirectory() as folder:
        tables = create_tables(folder, None)
        seconds = 0.0
        with _Memory() as memory, Lease(tables, "first") as lease:
            resolver = Resolver(PLAN, [tables["answers"]])
            progress = DocumentProgress(PLAN, sources["source_key"], Counts(documents=documents))
            with Writer(
                tables, lease, StaleRows(PLAN, tables, {}, frozenset()), MergedRows(PLAN, tables)
            ) as writer:
                for batch in _results(sources):
                    started = time.perf_counter()
                    writer.add(*progress.take(resolver.resolve(batch)))
                    seconds += time.perf_counter() - started
                started = time.perf_counter()
            seconds += time.perf_counter() - started
            progress.check()
        rows = [_row("progress, writer and commits", documents, seconds, memory.added)]
        listed = _listing(documents + documents // 10)
        with _Memory() as memory:
            started = time.perf_counter()
            remaining = find_remaining(listed, tables, replace(PLAN, run_id="second"))
            seconds = time.perf_counter() - started
        assert len(remaining.sources) == documents // 10
        rows.append(_row("what is left, by keys", len(listed), seconds, memory.added))
        with _Memory() as memory:
            started = time.perf_counter()
            Resolver(PLAN, [tables["answers"]]).seed(Registry().note)
            seconds = time.perf_counter() - started
        rows.append(_row("answers that new documents may share", documents, seconds, memory.added))
    return rows


def _row(part: str, documents: int, seconds: float, added: int) -> dict[str, Any]:
    return {
        "part": part,
        "documents": documents,
        "ms_a_document": round(1e3 * seconds / documents, 4),
        "added_MiB": round(added / MIB),
    }


def _listing(documents: int) -> pa.Table:
    uris = [f"s3://bucket/prefix/{number // 1000}/document-{number}.pdf" for number in range(documents)]
    keys = [hashlib.sha256(uri.encode()).hexdigest()[:32] for uri in uris]
    given = {"uri": uris, "source_key": keys, "location": uris}
    columns = [pa.array(given.get(field.name, [None] * documents), field.type) for field in SOURCES]
    return pa.Table.from_arrays(columns, schema=SOURCES)


def _results(sources: pa.Table) -> Iterator[pa.Table]:
    for batch in sources.select(["uri", "source_key"]).to_batches(BATCH):
        listed = batch.to_pylist()
        known = {"kind": DOCUMENTS, "documents": list(map(_document, listed))}
        yield table_of([known, *map(_result, listed)], result_schema(None))


def _document(source: Row) -> Row:
    counts = {"items_expected": 1, "items_answered": 0, "items_failed": 0}
    return source | {"media_type": "application/pdf", "page_count": 1} | counts


def _result(source: Row) -> Row:
    item: Row = {"item_key": item_key(ASK, source["source_key"], 1, 1, QUESTION)}
    item |= {"page_first": 1, "page_last": 1}
    answer = Answer(
        **source | item,
        settings_key=ASK.settings_key,
        run_id=PLAN.run_id,
        question_id=QUESTION.id,
        question=QUESTION.text,
        answer="$1,234.56",
        raw_text=" $1,234.56",
        confidence=0.9,
        fields=[],
        finish_reason="stop",
        prompt_tokens=3040,
        cached_tokens=0,
        output_tokens=9,
        prompt_key=item["item_key"],
        answered_at=datetime.now(UTC),
    )
    return {"kind": ANSWER, "answer": to_row(answer)} | source | item


class _Memory:
    """The most bytes that this process holds while the context lasts, above those at its start."""

    def __enter__(self) -> "_Memory":
        self._ended = Event()
        self._start = self.most = _resident()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def added(self) -> int:
        return self.most - self._start

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, _resident())


def _resident() -> int:
    fields: Sequence[str] = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) * 1024
