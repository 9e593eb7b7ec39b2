"""Every mistake in a run that can be found before Ray starts; and the output, held while the run lasts.

In: a FlowConfig. Out: a `Prepared` run: the plan, the documents that are left to do, and the tables under a
lease. All mistakes are ValueErrors of one sentence; no weights are loaded.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from glob import has_magic
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit.lease import Lease
from pipeline.commit.manifest import check_reachable, read_positions, versions
from pipeline.commit.resume import Remaining, find_remaining
from pipeline.commit.tables import OutputError, Table, answers_of, create_tables
from pipeline.config import FlowConfig, make_plan
from pipeline.ingest.entries import PART_ROWS
from pipeline.ingest.feed import Feed, Position
from pipeline.ingest.listing import list_sources
from pipeline.ingest.outages import patiently
from pipeline.ingest.progress import Progress
from pipeline.ingest.roots import check_first
from pipeline.ingest.storage import absolute
from pipeline.plan.plan import Plan
from pipeline.rasterize.attachments import with_attachments
from pipeline.rasterize.confinement import check_sandbox
from schemas.targets import Question

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that can start."""

    config: FlowConfig
    plan: Plan
    remaining: Remaining
    tables: dict[str, Table]
    lease: Lease
    list_seconds: float
    tables_read: tuple[list[Position], list[Position]]
    """How far tables were read: before this run, and once it has finished."""


@contextmanager
def prepare(
    config: FlowConfig,
    again: frozenset[str] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Iterator[Prepared]:
    """Checks all of it, and holds the output as long as the `with` block lasts. Raises ValueError.

    With `again`, the run only asks items again that failed for one of these reasons. `say` is given a
    sentence every few seconds while documents are listed and looked for in the output. A store that is at
    fault is asked again for a while: see `outages`.
    """
    plan = patiently(lambda: check(config), say)
    started = time.perf_counter()
    progress = Progress(say)

    def listed() -> tuple[Feed, pa.Table]:
        feed = feed_of(config, plan, is_retry=again is not None)
        return feed, list_documents(config, plan, feed, progress)

    feed, sources = patiently(listed, say)
    tables = patiently(lambda: create_tables(config.output, *plan.answered, merged=plan.merged), say)
    with ExitStack() as stack:
        lease = patiently(lambda: stack.enter_context(Lease(tables, plan.run_id)), say)
        yield Prepared(
            config=config,
            plan=plan,
            remaining=patiently(lambda: what_is_left(sources, tables, plan, progress, again), say),
            tables=tables,
            lease=lease,
            list_seconds=time.perf_counter() - started,
            # A retry lists new rows, too, and does not ask them.
            tables_read=(feed.begun(), feed.finished()) if again is None else (feed.before(),) * 2,
        )


def check(config: FlowConfig) -> Plan:
    """The plan of a run whose output and sandbox are there. Raises ValueError."""
    check_reachable(config.output)
    check_sandbox(config.limits)
    return make_plan(config)


def feed_of(config: FlowConfig, plan: Plan, *, is_retry: bool = False) -> Feed:
    """How far the output's runs have read tables. Raises ValueError."""
    return Feed(
        read_positions(config.output),
        asked=_asked(config, plan),
        only_new=config.since_last_run and not is_retry,
        has_ids=config.id_column is not None,
    )


def list_documents(config: FlowConfig, plan: Plan, feed: Feed, progress: Progress) -> pa.Table:
    """All documents of a run, attachments among them, as a table SOURCES. Raises ValueError."""
    sources = list_sources(
        config.inputs,
        column=config.column,
        id_column=config.id_column,
        password_column=config.password_column,
        messages_column=config.messages_column,
        progress=progress,
        feed=feed,
    )
    check_first(sources, plan.roots, plan.web)
    if not config.messages_column:
        sources = with_attachments(sources, plan, progress, in_all=config.attachments)
    # A file, or a document in it: nobody knows what else it holds. Attachments are refused for good.
    unread = sources.filter(pc.and_(pc.is_valid(sources["refused"]), pc.is_null(sources["part"])))
    feed.left(pc.unique(unread["parquet"].drop_null()).to_pylist())
    warn_of_unasked(sources, config.questions)
    return sources


def what_is_left(
    sources: pa.Table,
    tables: dict[str, Table],
    plan: Plan,
    progress: Progress,
    again: frozenset[str] | None = None,
) -> Remaining:
    """The documents that the tables do not show as done. Raises ValueError."""
    try:
        return find_remaining(sources, tables, plan, again, progress)
    except OutputError as error:
        raise ValueError(str(error)) from error


def _asked(config: FlowConfig, plan: Plan) -> str:
    """What a run asks, and of which columns: 32 hex digits."""
    asks = [[ask.settings_key, [question.model_dump() for question in ask.questions]] for ask in plan.asks]
    columns = [config.column, config.messages_column, config.id_column]
    columns += ["attachments"] if config.attachments else []
    return hashlib.sha256(json.dumps([asks, plan.pages, columns]).encode()).hexdigest()[:32]


def warn_of_unasked(sources: pa.Table, questions: Sequence[Question]) -> None:
    """Says which questions are asked of none of the documents: their globs match nothing."""
    by_name: dict[str, list[Question]] = {}  # thousands of questions may each name a document of their own
    by_glob: list[Question] = []
    for question in questions:
        if question.documents is None:
            continue
        name = PurePosixPath(question.documents).name
        if has_magic(name):
            by_glob.append(question)
        else:
            by_name.setdefault(name, []).append(question)
    for batch in sources.select(["uri"]).to_batches(PART_ROWS) if by_name or by_glob else ():
        for uri in batch["uri"].to_pylist():
            by_glob = [one for one in by_glob if not one.is_for_document(uri)]
            name = uri.rpartition("/")[2]
            if name in by_name:
                by_name[name] = [one for one in by_name[name] if not one.is_for_document(uri)]
    unasked = {id(question) for question in chain(by_glob, *by_name.values())}
    for question in questions:
        if id(question) in unasked:
            _log.warning("no document matches %s: nobody is asked %r", question.documents, question.text)


def describe(prepared: Prepared, fleet: dict[str, Any] | None) -> dict[str, Any]:
    """The entries of run.json when a run begins; `fleet` is its placement, if it has one."""
    plan, config = prepared.plan, prepared.config
    root = prepared.tables["documents"].uri.removesuffix("documents")
    return {
        "run_id": plan.run_id,
        "config": asdict(config)
        | {
            "inputs": list(map(absolute, config.inputs)),  # a retry may start from another folder
            "allow_roots": list(map(absolute, config.allow_roots)),
            "model": absolute(config.model) if isinstance(plan.model, str) else str(plan.model),
            "questions": [question.model_dump() for question in config.questions],
            "passwords": len(plan.passwords),
        },
        "plan": {
            "settings_key": plan.settings_key,
            "max_side": plan.max_side,
            "asks": [
                {
                    "target": ask.label,
                    "table": table.uri.removeprefix(root),
                    **{name: getattr(ask, name) for name in ("settings_key", "scope", "max_new_tokens")},
                }
                for ask, table in zip(plan.asks, answers_of(prepared.tables), strict=True)
            ],
        },
        "fleet": fleet,
        "tables_read": prepared.tables_read[0],
        "versions": versions(),
        "tables": {name: table.uri.removeprefix(root) for name, table in prepared.tables.items()},
    }
