"""The stages that run as Ray Data tasks, and the Replica's calls: rows in, rows for the next stage out.

`open_packs` opens the documents that are large, and packs what a task draws. `draw_packs` opens the others,
draws, and writes prompts. A call of the `Replica` has them answered, and reads the text that the model wrote.
A document or a window that fails becomes a FAILED row, and at the end one failure for each of its items. A
window with some pages that cannot be drawn is asked about its other pages, and its answers name the missing
ones. `drawing` and the rooms below do the work, and know nothing of Ray Data.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.cancellation import is_stopping
from pipeline.dedup.registry import Claim, own
from pipeline.drawing import draw_range, draw_sources, tokenizer_of
from pipeline.infer import replica
from pipeline.opening import Facts, drawn_at_once, open_source, readings
from pipeline.parse.answers import read_completion
from pipeline.parse.validator import Validator
from pipeline.plan.items import asked_of
from pipeline.plan.keys import item_keys
from pipeline.plan.parcels import pack_rows, pack_table, unpack
from pipeline.plan.plan import Plan
from pipeline.plan.rows import (
    ANSWER,
    COMPLETION,
    FAILED,
    FAILURE,
    GROUPS,
    RANGE,
    RANGES,
    SOURCE,
    Row,
    column_of,
    hand_on,
    pack,
    result_schema,
    share_seconds,
    table_of,
    tables_of,
)
from schemas.arrow import to_row
from schemas.rows import Answer, Failure
from schemas.targets import has_own_code


def open_sources(sources: pa.Table, plan: Plan, claim: Claim = own) -> Iterator[pa.Table]:
    """Rows of SOURCES -> each document's RANGE rows, or a FAILED row; at the end one DOCUMENTS row of all."""
    for rows in _open(sources.to_pylist(), plan, claim):
        yield table_of(rows, RANGES)


def _open(sources: list[Row], plan: Plan, claim: Claim) -> Iterator[list[Row]]:
    facts = Facts()
    for source, read in readings(sources, plan):
        if is_stopping(plan.run_id):
            break  # the documents that were opened count all the same
        if rows := open_source(source, plan, claim, facts, read):
            yield rows
    if rows := facts.rows():
        yield rows


def open_packs(sources: pa.Table, plan: Plan, claim: Claim = own) -> Iterator[pa.Table]:
    """Rows of SOURCES -> parcels, one for each task that draws: documents, and page ranges of large ones."""
    at_once = drawn_at_once(sources, plan)
    small = [
        {"kind": SOURCE, "source": row, "source_key": row["source_key"], "uri": row["uri"]}
        for row in sources.filter(at_once).to_pylist()
    ]
    opened = _open(sources.filter(pc.invert(at_once)).to_pylist(), plan, claim)
    for some in pack(chain(small, chain.from_iterable(opened))):
        yield pack_table(table_of(some, RANGES))


def draw_groups(table: pa.Table, plan: Plan, claim: Claim = own) -> Iterator[pa.Table]:
    """RANGE rows -> a GROUP or FAILED row for each window with something to ask, a SHARED row for a range.

    SOURCE rows -> the same, and DOCUMENTS rows.
    """
    ranges, others = hand_on(table, RANGE, table.schema)
    sources, others = hand_on(others, SOURCE, GROUPS)
    if others.num_rows:
        yield others
    drawn = chain(
        draw_sources(sources["source"].to_pylist(), plan, claim) if len(sources) else (),
        chain.from_iterable(draw_range(row, plan, claim) for row in ranges.to_pylist()),
    )
    yield from tables_of(drawn, GROUPS)


def draw_packs(packs: pa.Table, plan: Plan, claim: Claim = own) -> Iterator[pa.Table]:
    """`draw_groups` of the rows in parcels. Each row that comes of them is a parcel: Ray shares them out."""
    for drawn in draw_groups(unpack(packs, RANGES), plan, claim):
        yield pack_rows(drawn)


class Replica(replica.Replica):
    """A Replica as Ray calls it: parcels of prompts in, a parcel of result rows out.

    The answers are read by the call that waited for them. A task of Ray's for each call would compute longer
    than its reading does.
    """

    def __call__(self, parcels: pa.Table) -> Iterator[pa.Table]:
        """Several threads may be in here."""
        if completions := list(super().__call__(unpack(parcels, GROUPS))):
            yield pack_table(read_answers(pa.concat_tables(completions), self._plan))


def read_answers(table: pa.Table, plan: Plan) -> pa.Table:
    """COMPLETION rows -> ANSWER or FAILURE rows; a FAILED row -> a FAILURE row for each of its items."""
    schema = result_schema(*(ask.model for ask in plan.asks))
    completions, others = hand_on(table, COMPLETION, schema)
    failed, others = hand_on(others, FAILED, schema)
    rows: list[Row] = []
    for row in completions.to_pylist():
        validator = _validator(plan.asks[row["ask"]].target)
        found = read_completion(row, plan, tokenizer_of(plan), validator)
        rows += share_seconds(row, [_result(found, row["ask"])])
    for row in failed.to_pylist():
        rows += share_seconds(row, [_result(found, ask) for found, ask in _failures(row, plan)])
    read = table_of(rows, schema)
    return pa.concat_tables([others, read]) if others.num_rows else read


def _failures(row: Row, plan: Plan) -> Iterator[tuple[Failure, int]]:
    """Each item's failure, and the number of its ask."""
    first, last = row["page_first"], row["page_last"]
    left = set(row["left"])
    asked = item_keys(row["source_key"], first, last, asked_of(plan, row["uri"], first, last))
    for key, (ask, question) in asked.items():
        if key not in left:
            continue
        failure = Failure(
            item_key=key,
            settings_key=ask.settings_key,
            run_id=plan.run_id,
            question_id=question.id,
            question=question.text,
            target=ask.label,
            failed_at=datetime.now(UTC),
            **{name: row[name] for name in ("source_key", "uri", "page_first", "page_last")},
            **{name: row[name] for name in ("stage", "reason", "message")},
        )
        yield failure, ask.number


def _result(found: Answer | Failure, ask: int) -> Row:
    kind = ANSWER if isinstance(found, Answer) else FAILURE
    names = ("source_key", "uri", "item_key", "page_first", "page_last")
    origin = {name: getattr(found, name) for name in names}
    return {"kind": kind, "ask": ask, column_of(kind, ask): to_row(found), **origin}


@cache
def _validator(target: str | None) -> Validator | None:
    """Once a worker process: its child is used for all answers. Only code of a user's needs one."""
    return Validator(target) if target is not None and has_own_code(target) else None
