"""The parts of `jobs.benchmark keys`, each in a process of its own, so that its memory is its own.

In: the name of a part, a folder with the tables and the Parquet file of URIs, and a count of documents. Out:
what was measured, as JSON on stdout.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.bench.object_pages import BUCKET, PREFIX, key_of, size_of
from pipeline.commit.delta_log import Change
from pipeline.commit.document_progress import Counts, DocumentProgress
from pipeline.commit.lease import Lease
from pipeline.commit.merged_rows import MergedRows
from pipeline.commit.resume import find_remaining
from pipeline.commit.stale_rows import StaleRows
from pipeline.commit.tables import DataFile, Table, create_tables, write_rows
from pipeline.commit.writer import COMMIT_ROWS, Writer
from pipeline.dedup.registry import Registry
from pipeline.dedup.resolver import Resolver
from pipeline.ingest.entries import EntriesBuilder
from pipeline.ingest.files import file_sources
from pipeline.ingest.listing import list_sources, split
from pipeline.ingest.storage import Found
from pipeline.plan.keys import asked_key, item_key
from pipeline.plan.limits import MIB, Limits
from pipeline.plan.plan import Ask, Plan
from pipeline.plan.rows import ANSWER, DOCUMENTS, Row, result_schema, table_of
from schemas.arrow import to_row, to_table
from schemas.rows import Answer, Document
from schemas.targets import Question

ROOT = Path(__file__).parents[2]
BATCH = 64  # rows that the driver is given at a time
TOGETHER = 100  # files of committed rows that come with one commit, to save the benchmark's own time
CHANGED_NS = 1_767_323_045_000_000_000
FOLDER = f"s3://{BUCKET}"
URIS = "uris.parquet"
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
NOW = datetime(2026, 1, 2, tzinfo=UTC)


# What is measured


def list_objects(output: Path, documents: int) -> float:
    """Lists a prefix on S3."""
    started = time.perf_counter()
    assert len(list_sources([f"{FOLDER}/{PREFIX}"])) == documents
    return time.perf_counter() - started


def list_rows(output: Path, documents: int) -> float:
    """Lists a Parquet column of URIs."""
    started = time.perf_counter()
    assert len(list_sources([str(output / URIS)], column="uri")) == documents
    return time.perf_counter() - started


def look(output: Path, documents: int, left: int) -> float:
    """Looks in the tables for what is left of a listing."""
    sources = listing(0, documents)
    started = time.perf_counter()
    remaining = find_remaining(sources, _tables(output), replace(PLAN, run_id="second"))
    seconds = time.perf_counter() - started
    assert len(remaining.sources) == left, (len(remaining.sources), left)
    return seconds


def first_look(output: Path, documents: int) -> float:
    """The tables are empty."""
    return look(output, documents, documents)


def begin(output: Path, documents: int) -> float:
    """Looks for what is left, which is all, and begins a run: its account, and the blocks of its tasks."""
    sources = listing(0, documents)
    started = time.perf_counter()
    remaining = find_remaining(sources, _tables(output), PLAN)
    progress = DocumentProgress(PLAN, remaining.sources["source_key"], remaining.counts)
    blocks = split(remaining.sources, BATCH)
    seconds = time.perf_counter() - started
    assert (progress.counts.documents, sum(map(len, blocks))) == (documents, documents)
    return seconds


def cut_at_90(output: Path, documents: int) -> float:
    """Nine tenths are done, and some thousand documents have answers, and no row of their own yet."""
    return look(output, documents, documents - documents * 9 // 10)


def nothing_to_do(output: Path, documents: int) -> float:
    """All are done."""
    return look(output, documents, 0)


def growth_by_1(output: Path, documents: int) -> float:
    """A hundredth more are listed than are done."""
    return look(output, documents + documents // 100, documents // 100)


def seed(output: Path, documents: int) -> float:
    """Notes which answers new documents may share."""
    started = time.perf_counter()
    Resolver(PLAN, [_tables(output)["answers"]]).seed(Registry().note)
    return time.perf_counter() - started


def commit(output: Path, documents: int) -> float:
    """Takes in results, and commits them."""
    sources = listing(0, documents)
    tables = create_tables(str(output / "committed"), None)
    seconds = 0.0
    with Lease(tables, "first") as lease:
        resolver = Resolver(PLAN, [tables["answers"]])
        progress = DocumentProgress(PLAN, sources["source_key"], Counts(documents=documents))
        stale_rows = StaleRows(PLAN, tables, {}, frozenset())
        merged_rows = MergedRows(PLAN, tables)
        with Writer(tables, lease, stale_rows, merged_rows, committed=resolver.committed) as writer:
            for batch in _results(sources):
                started = time.perf_counter()
                writer.add(*progress.take(resolver.resolve(batch)))
                seconds += time.perf_counter() - started
            started = time.perf_counter()
        seconds += time.perf_counter() - started
        progress.check()
    return seconds


# What it is measured on


def listing(start: int, end: int) -> pa.Table:
    """The documents of these numbers, as a listing of S3 has them."""
    files = EntriesBuilder()
    for number in range(start, end):
        files.add(f"{FOLDER}/{key_of(number)}", size_of(number), CHANGED_NS)
    return file_sources("", Found(entries=files.build(), folder=FOLDER))


def write_uris(output: Path, documents: int) -> float:
    """Writes the Parquet file."""
    schema = pa.schema([("uri", pa.string())])
    with pq.ParquetWriter(output / URIS, schema) as writer:
        for start in range(0, documents, 1_000_000):
            numbers = range(start, min(start + 1_000_000, documents))
            uris = pa.array([f"{FOLDER}/{key_of(number)}" for number in numbers])
            writer.write_table(pa.table([uris], schema=schema))
    return 0.0


def fill_to_90(output: Path, documents: int) -> float:
    """Nine tenths of the documents, and answers of some more."""
    done = documents * 9 // 10
    answered = min(documents, done + COMMIT_ROWS)
    _fill(output, 0, done, answered)
    return 0.0


def fill_the_rest(output: Path, documents: int) -> float:
    """The other tenth."""
    done = documents * 9 // 10
    _fill(output, done, documents, documents, already=min(documents, done + COMMIT_ROWS))
    return 0.0


def _fill(output: Path, start: int, done: int, answered: int, already: int | None = None) -> None:
    """Rows as runs leave them: in files of COMMIT_ROWS."""
    tables = _tables(output)
    files: dict[str, list[DataFile]] = {"answers": [], "documents": []}
    with Lease(tables, "first") as lease:

        def commit() -> None:
            for name, written in files.items():
                if written:
                    lease.commit(name, Change(added=written))
                    written.clear()

        for first in range(start, answered, COMMIT_ROWS):
            sources = listing(first, min(first + COMMIT_ROWS, answered))
            for name, make, end in (("answers", _answers, answered), ("documents", _documents, done)):
                skipped = max(0, (already or 0) - first) if name == "answers" else 0
                some = sources.slice(skipped, max(0, end - first - skipped))
                if len(some):
                    files[name].append(write_rows(tables[name], make(some)))
            if len(files["answers"]) >= TOGETHER:
                commit()
        commit()


def _tables(output: Path) -> dict[str, Table]:
    return create_tables(str(output / "tables"), None)


def _answers(sources: pa.Table) -> pa.Table:
    keys = [item_key(ASK, key, 1, 1, QUESTION) for key in sources["source_key"].to_pylist()]
    one = to_table(Answer, [_answer({"source_key": "", "uri": "", "item_key": ""})])
    return _many(one, sources, item_key=pa.array(keys), prompt_key=pa.array(keys))


def _documents(sources: pa.Table) -> pa.Table:
    one = Document(
        source_key="",
        uri="",
        content_key="0" * 64,
        media_type="application/pdf",
        page_count=1,
        items_expected=1,
        items_answered=1,
        items_failed=0,
        settings_key=PLAN.settings_key,
        run_id=PLAN.run_id,
        status="complete",
        finished_at=NOW,
        asked_key=asked_key(PLAN, ""),
    )
    return _many(to_table(Document, [one]), sources)


def _many(one: pa.Table, sources: pa.Table, **columns: pa.Array) -> pa.Table:
    """A row for each source: the same one, but for some columns."""
    rows = one.take(pa.array(np.zeros(len(sources), np.int64)))
    for name, column in ({name: sources[name] for name in ("uri", "source_key")} | columns).items():
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
    return rows


def _results(sources: pa.Table) -> Iterator[pa.Table]:
    for batch in sources.select(["uri", "source_key"]).to_batches(BATCH):
        listed = batch.to_pylist()
        known = {"kind": DOCUMENTS, "documents": list(map(_opened, listed))}
        yield table_of([known, *map(_result, listed)], result_schema(None))


def _opened(source: Row) -> Row:
    counts = {"items_expected": 1, "items_answered": 0, "items_failed": 0}
    return source | {"media_type": "application/pdf", "page_count": 1} | counts


def _result(source: Row) -> Row:
    item: Row = {"item_key": item_key(ASK, source["source_key"], 1, 1, QUESTION)}
    pages = {"page_first": 1, "page_last": 1}
    return {"kind": ANSWER, "answer": to_row(_answer(source | item))} | source | item | pages


def _answer(item: Row) -> Answer:
    return Answer(
        **item,
        page_first=1,
        page_last=1,
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
        answered_at=NOW,
    )


# Processes


@contextmanager
def object_server(objects: int) -> Iterator[dict[str, str]]:
    """A server of generated pages; the AWS_* variables that lead to it."""
    command = [sys.executable, "-c", f"from jobs.bench.object_pages import serve; serve({objects})"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(server.stdout.readline())}",
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
        finally:
            server.terminate()


PARTS: Final[dict[str, Callable[[Path, int], float]]] = {
    part.__name__: part
    for part in (
        list_objects,
        list_rows,
        first_look,
        begin,
        cut_at_90,
        nothing_to_do,
        growth_by_1,
        seed,
        commit,
        write_uris,
        fill_to_90,
        fill_the_rest,
    )
}


def measure(part: str, folder: str, documents: int, environment: dict[str, str]) -> dict[str, Any]:
    """Seconds, and the peak of memory in MiB, of one part in a process of its own."""
    command = f"from jobs.bench.keys_parts import report; report({part!r}, {folder!r}, {documents})"
    done = subprocess.run(
        [sys.executable, "-c", command],
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | environment,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def report(part: str, folder: str, documents: int) -> None:
    """Prints what a part takes; its process does nothing else."""
    seconds = PARTS[part](Path(folder), documents)
    # Not getrusage's, which a process has from the one that started it.
    fields = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()
    print(json.dumps({"seconds": seconds, "peak_MiB": round(int(fields[0]) * 1024 / MIB)}))
