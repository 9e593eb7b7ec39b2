"""What a run would do, before anything runs: documents, pages, items, tokens, from a sample of the documents.

In: a FlowConfig. Out: an `Estimate`. The sample goes through the run's own stages in this process: documents
are opened in the sandbox, pages are drawn, and their prompts are tokens, exactly as the plan has them. No Ray
is started, no lease taken, nothing written, no weights loaded.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit.tables import OutputError, Table, answers_of, is_there, name_tables, stream_table
from pipeline.config import FlowConfig
from pipeline.ingest.progress import Progress
from pipeline.plan.items import windows
from pipeline.plan.plan import Plan
from pipeline.plan.rows import DOCUMENTS, GROUP, RANGE
from pipeline.prepare import check, feed_of, list_documents, what_is_left
from pipeline.stages import draw_groups, open_sources

SAMPLE: Final = 64  # documents
DRAWN: Final = 16  # pages of each at most, one behind the other; or its first window, if that is longer
DEVIATIONS: Final = 1.96  # on both sides hold 95% of a normal distribution


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A sum over all documents, from those that were sampled."""

    total: float
    margin: float
    """With 95% confidence the sum is this near; 0 where all documents were sampled."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is left to do."""

    listed: int
    left: int
    """Of the documents."""
    sampled: int
    drawn: int
    """Pages of the sample."""
    pages: Amount
    items: Amount
    prompt_tokens: Amount
    """That are computed: what the questions of a page share counts once."""
    answer_tokens: Amount
    """As many as the answers in the output have on average, or else as many as they may have."""
    answers_known: bool
    """Whether the output has answers to these questions."""
    failing: int
    """Documents of the sample of which nothing can be drawn."""
    draw_seconds: float
    """Of computing on CPUs, for all pages."""


@dataclass(kw_only=True)
class _Seen:
    """One document of the sample."""

    pages: float = 0
    items: float = 0
    prompt_tokens: float = 0
    answer_tokens: float = 0
    seconds: float = 0
    drawn: int = 0


def estimate(config: FlowConfig, say: Callable[[str], None] = lambda sentence: None) -> tuple[Plan, Estimate]:
    """The plan, and what it would cost to carry it out. Raises ValueError as `prepare` does."""
    plan, progress = check(config), Progress(say)
    sources = list_documents(config, plan, feed_of(config, plan), progress)
    tables = name_tables(config.output, *plan.answered, merged=plan.merged)
    left = sources
    if all(is_there(table.uri) for table in tables.values()):  # else there is something new to ask of all
        left = what_is_left(sources, tables, plan, progress).sources
    try:
        lengths = [
            _mean_length(table, ask.settings_key)
            for table, ask in zip(answers_of(tables), plan.asks, strict=True)
        ]
    except OutputError as error:
        raise ValueError(str(error)) from error
    chosen = sorted(random.Random(0).sample(range(len(left)), min(SAMPLE, len(left))))
    seen = [_look(left.slice(place, 1), plan, lengths) for place in chosen]
    amount = {
        name: _amount([getattr(one, name) for one in seen], len(left))
        for name in ("pages", "items", "prompt_tokens", "answer_tokens")
    }
    return plan, Estimate(
        listed=len(sources),
        left=len(left),
        sampled=len(seen),
        drawn=sum(one.drawn for one in seen),
        answers_known=all(length is not None for length in lengths),
        failing=sum(not one.drawn for one in seen),
        draw_seconds=_amount([one.seconds for one in seen], len(left)).total,
        **amount,
    )


def _look(source: pa.Table, plan: Plan, lengths: list[float | None]) -> _Seen:
    """Opens one document, and draws some of its pages. A document that fails costs nothing."""
    seen = _Seen()
    ranges = []
    for table in open_sources(source, plan):
        for row in table.to_pylist():
            if row["kind"] == DOCUMENTS:
                seen.items = sum(document["items_expected"] for document in row["documents"])
        ranges += [table.slice(at, 1) for at, kind in enumerate(table["kind"].to_pylist()) if kind == RANGE]
    if not ranges:
        return seen
    some = ranges[len(ranges) // 2]
    (row,) = some.to_pylist()
    every = windows(plan, row["uri"], row["page_count"])
    start, end = row["page_first"], row["page_last"]
    longest = next(window.last for window in every if start <= window.first)
    row["page_last"] = max(longest, min(end, start + DRAWN - 1))
    pages = {page for window in every for page in range(window.first, window.last + 1)}
    answers = sum((lengths[ask.number] or ask.max_new_tokens) for window in every for ask, _ in window.asked)
    part = pa.Table.from_pylist([row], some.schema)
    drawn = [row for table in draw_groups(part, plan) for row in table.to_pylist() if row["kind"] == GROUP]
    shown = {page for row in drawn for page in range(row["page_first"], row["page_last"] + 1)}
    if not drawn:
        return seen
    scale = len(every) / len(drawn)  # windows of a document are much alike
    seen.pages = len(pages)
    seen.drawn = len(shown)
    seen.prompt_tokens = scale * sum(
        len(row["prefix_ids"]) + sum(map(len, row["branch_ids"])) for row in drawn
    )
    seen.answer_tokens = answers
    seen.seconds = scale * sum(row["rasterize_seconds"] or 0.0 for row in drawn)
    return seen


def _amount(values: list[float], documents: int) -> Amount:
    """The sum over all documents, when these were drawn from them without putting one back."""
    if not values:
        return Amount(total=0.0, margin=0.0)
    error = stdev(values) / sqrt(len(values)) * sqrt(1 - len(values) / documents) if len(values) > 1 else 0.0
    return Amount(total=documents * fmean(values), margin=documents * DEVIATIONS * error)


def _mean_length(table: Table, settings_key: str) -> float | None:
    """Tokens of an answer in the output that the model wrote under these settings; None if there is none.

    Raises OutputError.
    """
    if not is_there(table.uri):
        return None
    tokens = count = 0
    _, batches = stream_table(table.uri, ["settings_key", "shared_from", "output_tokens"])
    for batch in batches:
        mine = pc.and_(pc.equal(batch["settings_key"], settings_key), pc.is_null(batch["shared_from"]))
        written = batch["output_tokens"].filter(mine)
        tokens += pc.sum(written).as_py() or 0
        count += len(written)
    return tokens / count if count else None
