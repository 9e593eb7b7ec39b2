"""Runs without Ray, documents and a model, on real tables: the real lease, writer, log and search for what is
left. Faults strike at the commit, below the log; a run can die at any of its steps."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from pydantic import BaseModel

from pipeline.commit import lease as leases
from pipeline.commit import maintenance
from pipeline.commit.delta_log import DeltaLog
from pipeline.commit.document_progress import DocumentProgress
from pipeline.commit.lease import Lease
from pipeline.commit.maintenance import Upkeep
from pipeline.commit.resume import Remaining, find_remaining
from pipeline.commit.tables import OutputError, Table, create_tables, read_table
from pipeline.commit.writer import Writer
from pipeline.ingest.sources import SOURCES
from pipeline.plan.items import asked_of, windows
from pipeline.plan.keys import item_keys
from pipeline.plan.plan import Plan
from pipeline.plan.rows import ANSWER, DOCUMENTS, FAILURE, Row, result_schema, table_of
from schemas.arrow import to_row
from schemas.rows import Answer, Failure
from schemas.targets import Question
from tests.pipeline.plans import asking
from tests.pipeline.stored import NOW

TIMEOUT, UNREADABLE = "timeout", "unreadable"
NAMES = ("answers", "failures", "documents")
Strike = Callable[[Callable[[], None]], None]  # in the place of a commit, which it is given


class Crash(BaseException):
    """The process is gone, at once."""


@dataclass
class Paper:
    """A document of the listing."""

    uri: str
    pages: int = 2
    name: str = ""  # where several share a uri
    version: int = 0
    opens: bool = True

    @property
    def key(self) -> str:
        """Its source_key."""
        return hashlib.sha256(f"{self.uri} {self.name} {self.version}".encode()).hexdigest()[:32]


@dataclass
class Run:
    """A run that holds the output, or believes so."""

    plan: Plan
    again: frozenset[str] | None
    lease: Lease
    writer: Writer
    progress: DocumentProgress
    remaining: Remaining
    waiting: list[Row] = field(default_factory=list)  # what its stages will still bring
    committing: dict[str, str] = field(default_factory=dict)  # items since its last commit, and their uris
    completed: set[str] = field(default_factory=set)  # uris of documents since its last commit


class World:
    """An output, the documents that runs list, and what must be true of the tables at any moment."""

    names: tuple[str, ...] = NAMES
    target: type[BaseModel] | None = None

    def __init__(self, output: Path, patch: pytest.MonkeyPatch) -> None:
        self.papers = [Paper("/in/a"), Paper("/in/b", 1), Paper("/in/2", 2, "x"), Paper("/in/2", 1, "y")]
        self.gone = [Paper("/in/gone-1", 1), Paper("/in/gone-2", 1)]  # not listed any more
        self.settings, self.wording = 0, 0
        self.runs: list[Run] = []
        self.holder: Run | None = None  # the others were taken for dead
        self.tables = self.create(str(output))
        self.fault: tuple[int, Strike] | None = None  # at which of the next commits
        self.struck = 0  # faults
        self._patch = patch
        self._number = 0
        self._dead: set[str] = set()
        self._deleted: set[str] = set()  # uris of which another tool has deleted rows, of one table or of all
        self._sure: dict[str, str] = {}  # items that a commit has reported as stored, and their uris
        patch.setattr(leases, "is_dead", lambda said: said["run_id"] in self._dead)
        patch.setattr(leases, "HEARTBEAT_SECONDS", 1e6)  # `beat` comes when it is told
        patch.setattr("pipeline.commit.rests.FILE_ROWS", 2)
        patch.setattr("pipeline.commit.rests.GROUP_ROWS", 2)
        patch.setattr(maintenance, "RETENTION_HOURS", 0)  # the log is cleaned of all but the last checkpoint
        patch.setattr("pipeline.commit.writer.COMMIT_ROWS", 10**9)
        patch.setattr("pipeline.commit.writer.COMMIT_SECONDS", 1e9)
        self._really = DeltaTable.create_write_transaction
        patch.setattr(DeltaTable, "create_write_transaction", lambda *args, **kw: self._commit(*args, **kw))

    # What is asked

    def create(self, output: str) -> dict[str, Table]:
        return create_tables(output, None)

    def plan(self) -> Plan:
        questions = (
            Question(id="one", text="What is the total?"),
            Question(id="two", text=f"When, in wording {self.wording}?"),
        )
        return asking(settings_key=f"settings {self.settings}", questions=questions)

    def answer(self, item: Row, plan: Plan) -> Answer:
        return Answer(answer="42", **item, **said(plan))

    # Runs

    def start(self, *, after_silence: bool = False, again: frozenset[str] | None = None) -> Run | None:
        """A run that has acquired the output and knows what is left; None if it is refused, or dies."""
        self._number += 1
        held = self.holder is not None and not after_silence
        plan = replace(self.plan(), run_id=f"run {self._number}")
        papers = self.papers if self._number > 1 else [*self.papers, *self.gone]
        uris, keys = [paper.uri for paper in papers], [paper.key for paper in papers]
        given = {"uri": uris, "source_key": keys, "location": uris}
        columns = [pa.array(given.get(name, [None] * len(uris)), kind) for name, kind in _kinds(SOURCES)]
        sources = pa.Table.from_arrays(columns, schema=SOURCES)
        lease = Lease(self.tables, plan.run_id)
        try:
            with self._silence(after_silence):
                lease.acquire()
        except (ValueError, ArithmeticError, Crash):
            self._gone(lease, plan.run_id)
            return None
        assert not held, "two runs hold the output"
        remaining = find_remaining(sources, self.tables, plan, again)
        run = Run(
            plan=plan,
            again=again,
            lease=lease,
            writer=Writer(self.tables, lease, remaining.stale_rows, remaining.merged_rows),
            progress=DocumentProgress(plan, remaining.sources["source_key"], remaining.counts),
            remaining=remaining,
        )
        known = {paper.key: paper for paper in papers}
        for source in remaining.sources.to_pylist():
            run.waiting += self._results(run, known[source["source_key"]], source)
        self.runs.append(run)
        self.holder = run
        return run

    def deliver(self, run: Run, count: int, *, fails: bool = False, twice: bool = False) -> None:
        """The next rows come out of its stages, once or twice."""
        for row in [row for row in run.waiting[:count] for _ in range(1 + twice)]:
            if fails and row["kind"] == ANSWER:
                row = _failed(row, run.plan, TIMEOUT)
            results, documents = run.progress.take(table_of([row], result_schema(self.target)))
            run.committing |= zip(results["item_key"].to_pylist(), results["uri"].to_pylist(), strict=True)
            run.completed |= {document.uri for document in documents}
            run.writer.add(results, documents)
        del run.waiting[:count]

    def commit(self, run: Run) -> None:
        """It commits what it was given; where that fails it ends, as in its `with` blocks."""
        with self._life(run):
            self._forget(run)
            something = bool(run.committing or run.completed)
            run.writer.commit()
            assert run is self.holder or not something, "a run that was taken for dead has committed"
            self._sure |= run.committing
            run.committing, run.completed = {}, set()

    def beat(self, run: Run) -> None:
        """Its heartbeat is due."""
        self._patch.setattr(leases, "HEARTBEAT_SECONDS", 0.0)
        try:
            with self._life(run):
                run.lease.beat()
        finally:
            self._patch.setattr(leases, "HEARTBEAT_SECONDS", 1e6)

    def leave(self, run: Run) -> None:
        """It ends as runs do: commits the rest and releases the output."""
        struck = self.struck
        self.commit(run)
        if run in self.runs:
            with self._life(run):
                run.lease.release()
        if run in self.runs:
            self._end(run, dead=self.struck > struck)  # its process is gone even if the release failed

    def die(self, run: Run) -> None:
        """SIGKILL."""
        run.lease._ended.set()
        self._end(run, dead=True)

    def compact(self, run: Run) -> None:
        """It has made so many commits that it merges its files."""
        with self._life(run):
            run.writer.maintain()

    def maintain(self, *, after_silence: bool = False, cut: tuple[int, bool] | None = None) -> None:
        """jobs.maintain, with nothing kept, which dies before or behind one of its steps."""
        self._number += 1
        held = self.holder is not None and not after_silence
        tables = maintenance.find_tables(self.tables["documents"].uri.removesuffix("/documents"))
        lease = Lease(tables, f"maintenance {self._number}")
        try:
            with self._silence(after_silence):
                lease.acquire()
        except (ValueError, ArithmeticError, Crash):
            self._gone(lease, f"maintenance {self._number}")
            return
        assert not held, "a run is maintained at its work"
        self.holder = None
        count = iter(range(10**9))

        def wrapped(step: Callable[..., None]) -> Callable[..., None]:
            def do(*args: Any) -> None:
                number = next(count)
                if cut == (number, False):
                    raise Crash
                step(*args)
                if cut == (number, True):
                    raise Crash

            return do

        with self._patch.context() as patch:
            patch.setattr(maintenance, "STEPS", tuple(map(wrapped, maintenance.STEPS)))
            try:
                maintenance.maintain(lease, tables, Upkeep(retention_hours=0, force=True))
                lease.release()
            except (Crash, OutputError, ArithmeticError):
                self._gone(lease, f"maintenance {self._number}")

    def _gone(self, lease: Lease, run_id: str) -> None:
        """Its process has ended, at whatever point it did."""
        lease._ended.set()
        self._dead.add(run_id)
        last = DeltaLog(self.tables["documents"], "nobody").last_run()
        if self.holder is not None and (last is None or last["run_id"] != self.holder.plan.run_id):
            self.holder = None

    def finish(self) -> None:
        """Runs do all that is left, after a while in which no other has given a sign of life."""
        self.fault = None
        zombies = list(self.runs)
        for again in (None, frozenset({TIMEOUT, UNREADABLE})):
            run = self.start(after_silence=True, again=again)
            assert run is not None
            self.deliver(run, len(run.waiting))
            run.progress.check()
            self.leave(run)
            self.check()
            self.check_complete(run.plan)
        stored = self.rows()
        for zombie in zombies:
            self.deliver(zombie, len(zombie.waiting))
            self.leave(zombie)
            assert self.rows() == stored, "a run that was taken for dead has committed"

    @contextmanager
    def _life(self, run: Run) -> Iterator[None]:
        try:
            yield
        except Crash:
            self.die(run)
        except (OutputError, ArithmeticError) as error:
            if not self.struck and run is self.holder:
                raise
            try:
                with ExitStack() as stack:  # the run's `with` blocks
                    stack.push(run.lease)
                    stack.push(run.writer)
                    raise error
            except (OutputError, ArithmeticError, Crash):
                self.die(run)

    def _end(self, run: Run, dead: bool) -> None:
        if dead:
            self._dead.add(run.plan.run_id)
        if self.holder is run:
            self.holder = None
        self.runs.remove(run)

    @contextmanager
    def _silence(self, long: bool) -> Iterator[None]:
        before = leases.LEASE_SECONDS
        self._patch.setattr(leases, "LEASE_SECONDS", 0.0 if long else before)
        try:
            yield
        finally:
            self._patch.setattr(leases, "LEASE_SECONDS", before)

    # What runs are given

    def _results(self, run: Run, paper: Paper, source: Row) -> list[Row]:
        """The rows of a document as the stages bring them: its facts, and its items that have no row."""
        expected = expected_items(run.plan, paper)
        answered, failed = set(source["answered"] or ()), set(source["failed"] or ())
        origin: Row = {"source_key": paper.key, "uri": paper.uri}
        facts = origin | {
            "page_count": paper.pages if paper.opens else None,
            "items_expected": len(expected),
            "items_answered": len(expected.keys() & answered),
            "items_failed": len((expected.keys() & failed) - answered),
        }
        rows: list[Row] = [{"kind": DOCUMENTS, "documents": [facts]}]
        for key, (page, question) in expected.items():
            if key in answered | failed:
                continue
            item = origin | {"item_key": key, "page_first": page, "page_last": page}
            named = {"question_id": question.id, "question": question.text}
            if page is None:
                rows.append(_failed(item | {"named": named}, run.plan, UNREADABLE))
            else:
                answer = to_row(self.answer(item | named, run.plan))
                rows.append({"kind": ANSWER, "answer": answer, "named": named} | item)
        return rows

    # Faults, and other tools

    def _commit(self, handle: DeltaTable, *args: Any, **options: Any) -> None:
        def really() -> None:
            self._really(handle, *args, **options)

        count, strike = self.fault or (1, die_before)
        if count:
            self.fault = self.fault and (count - 1, strike)
            really()
        else:
            self.fault = None
            self.struck += 1
            strike(really)

    def optimize(self, name: str) -> None:
        DeltaTable(self.tables[name].uri).optimize.compact()

    def vacuum(self, name: str) -> None:
        """Of all that is not visible now. No run has files at that time that it is about to commit."""
        DeltaTable(self.tables[name].uri).vacuum(
            0, dry_run=False, enforce_retention_duration=False, full=True
        )

    def delete(self, name: str, paper: Paper) -> None:
        """Another tool deletes the rows of a document that is not listed any more."""
        DeltaTable(self.tables[name].uri).delete(f"uri = '{paper.uri}'")
        self._deleted.add(paper.uri)
        self._sure = {key: uri for key, uri in self._sure.items() if uri != paper.uri}

    # What must be true

    def rows(self) -> dict[str, list[Row]]:
        found = {name: read_table(self.tables[name].uri).to_pylist() for name in self.names}
        return {name: sorted(rows, key=str) for name, rows in found.items()}

    def check(self) -> None:
        """No row twice in a table, none lost, one generation a document, no document ahead of its items."""
        found = {name: read_table(self.tables[name].uri).to_pylist() for name in NAMES}
        for name, key in (("answers", "item_key"), ("failures", "item_key"), ("documents", "source_key")):
            assert max(Counter(row[key] for row in found[name]).values(), default=1) == 1, f"twice in {name}"
        stored = {row["item_key"] for name in ("answers", "failures") for row in found[name]}
        assert self._sure.keys() <= stored, "a row that was reported as stored is lost"
        shared = {uri for uri, count in Counter(paper.uri for paper in self.papers).items() if count > 1}
        for name in NAMES:
            generations: dict[str, set[Any]] = {}
            for row in found[name]:
                one = row["source_key"] if row["uri"] in shared else row["uri"]
                generations.setdefault(one, set()).add((row["source_key"], row["settings_key"]))
                if row.get("question_id") == "two":
                    generations.setdefault(f"wording of {one}", set()).add(row["question"])
            assert all(len(one) == 1 for one in generations.values()), (name, generations)
        for document in found["documents"]:
            if document["uri"] in self._deleted:
                continue
            there = {
                name: {row["item_key"] for row in found[name] if row["source_key"] == document["source_key"]}
                for name in ("answers", "failures")
            }
            assert document["items_answered"] == len(there["answers"]), document
            assert document["items_failed"] == len(there["failures"]), document
            assert not there["answers"] & there["failures"], document

    def check_complete(self, plan: Plan) -> None:
        """Each item of each listed document is there once, and so is each document."""
        expected = {key for paper in self.papers for key in expected_items(plan, paper)}
        listed = {paper.uri for paper in self.papers}
        found = self.rows()
        items = [row for name in ("answers", "failures") for row in found[name] if row["uri"] in listed]
        assert Counter(row["item_key"] for row in items) == Counter(expected)
        documents = [row["source_key"] for row in found["documents"] if row["uri"] in listed]
        assert Counter(documents) == Counter(paper.key for paper in self.papers)

    def _forget(self, run: Run) -> None:
        """Rows that a commit of this run may replace are not sure to stay."""
        touched = {*run.committing.values(), *run.completed}
        asked = {key for paper in self.papers for key in expected_items(run.plan, paper)}
        failures = read_table(self.tables["failures"].uri).to_pylist()
        again = {row["item_key"] for row in failures if row["reason"] in (run.again or ())}
        self._sure = {
            key: uri
            for key, uri in self._sure.items()
            if uri not in touched or (key in asked and key not in again)
        }


# Strikes


def die_before(commit: Callable[[], None]) -> None:
    raise Crash


def die_behind(commit: Callable[[], None]) -> None:
    commit()
    raise Crash


def lose_the_reply(commit: Callable[[], None]) -> None:
    commit()
    raise CommitFailedError("Failed to commit transaction: 0")


def lose_the_connection(commit: Callable[[], None]) -> None:
    commit()
    raise OSError("connection reset by peer")


def refuse(commit: Callable[[], None]) -> None:
    raise OSError(28, "No space left on device")


def fail_behind(commit: Callable[[], None]) -> None:
    commit()
    raise ArithmeticError("an error of the program's own, with the commit made")


STRIKES = (die_before, die_behind, lose_the_reply, lose_the_connection, refuse, fail_behind)


def expected_items(plan: Plan, paper: Paper) -> dict[str, tuple[int | None, Question]]:
    """The pages and questions of a document's items, by their keys."""
    if not paper.opens:
        keys = item_keys(paper.key, None, None, asked_of(plan, paper.uri))
        return {key: (None, one.question) for key, one in keys.items()}
    return {
        key: (window.first, one.question)
        for window in windows(plan, paper.uri, paper.pages)
        for key, one in item_keys(paper.key, window.first, window.last, window.asked).items()
    }


def _kinds(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in schema]


def said(plan: Plan) -> Row:
    """The columns of an answer that are the same in all of a run."""
    return {
        "settings_key": plan.asks[0].settings_key,
        "run_id": plan.run_id,
        "raw_text": " 42",
        "confidence": 0.5,
        "fields": [],
        "finish_reason": "stop",
        "prompt_tokens": 10,
        "cached_tokens": 0,
        "output_tokens": 2,
        "answered_at": NOW,
    }


def _failed(row: Row, plan: Plan, reason: str) -> Row:
    """The item of a row, failed."""
    item = {name: row[name] for name in ("source_key", "uri", "item_key", "page_first", "page_last")}
    failure = Failure(
        **item | row["named"],
        settings_key=plan.asks[0].settings_key,
        run_id=plan.run_id,
        target=plan.asks[0].label,
        stage="open",
        reason=reason,
        message="It did not work.",
        failed_at=NOW,
    )
    return {"kind": FAILURE, "failure": to_row(failure)} | item
