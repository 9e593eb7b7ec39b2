"""Items that share an answer get it once it is there, in whatever order all of it arrives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commit.tables import Table, create_tables
from pipeline.dedup.resolver import Resolver
from pipeline.plan.plan import Plan
from pipeline.plan.rows import ANSWER, FAILURE, SHARED, Row, result_schema, table_of
from schemas.arrow import to_row, to_table
from schemas.rows import Answer
from tests.pipeline.plans import plan_for
from tests.pipeline.stored import answer, failure, show

OWNER, SHARER, THIRD, OTHER, PROMPT = (f"{number:032x}" for number in range(1, 6))
SCHEMA = result_schema(None)


def answered(item: str, **changes: Any) -> Row:
    """What comes of an item that was asked."""
    row = to_row(answer(item)) | {"prompt_key": PROMPT} | changes
    return {"kind": ANSWER, ANSWER: row, **{name: row[name] for name in ("item_key", "source_key", "uri")}}


def failed(item: str) -> Row:
    row = to_row(failure(item))
    return {"kind": FAILURE, FAILURE: row, **{name: row[name] for name in ("item_key", "source_key", "uri")}}


def carrier(item: str, owner: str, **changes: Any) -> Row:
    """The row with which an item that shares comes."""
    shared: Row = {"item_key": item, "ask": 0, "owner": owner, "prompt_key": PROMPT, "content_key": "c"}
    shared |= {"page_first": 3, "page_last": 4, "question_id": "own", "question": "Mine?"} | changes
    return {"kind": SHARED, "shared": [shared | {"source_key": f"source {item}", "uri": f"/in/{item}.pdf"}]}


@pytest.fixture(scope="module")
def plan(tiny_checkpoint: Path) -> Plan:
    return plan_for(tiny_checkpoint)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return create_tables(str(tmp_path_factory.mktemp("out")), None)["answers"]


@pytest.fixture(scope="module")
def make(plan: Plan, table: Table) -> Callable[[], Resolver]:
    return lambda: Resolver(plan, [table])


def resolve(resolver: Resolver, *rows: Row) -> dict[str, Row]:
    """The row of each item that comes of these rows, one batch each."""
    found: dict[str, Row] = {}
    for row in rows:
        for result in resolver.resolve(table_of([row], SCHEMA)).to_pylist():
            if result["kind"] in (ANSWER, FAILURE):
                found.setdefault(result["item_key"], result[result["kind"]])
    return found


@pytest.mark.parametrize("late", [False, True])
def test_a_shared_row_is_its_owners_under_its_own_keys(
    make: Callable[[], Resolver], plan: Plan, late: bool
) -> None:
    evidence = [{"path": "total", "confidence": 0.25, "page": 1, "box": None}]
    seen = {"note": "first frame", "pages_missing": [4], "page_damaged": True}
    rows = [answered(OWNER, fields=evidence), carrier(SHARER, OWNER, **seen)]
    row = resolve(make(), *(reversed(rows) if late else rows))[SHARER]
    own = to_row(answer(OWNER))
    same = ("answer", "raw_text", "confidence", "finish_reason", "prompt_tokens")
    assert {name: row[name] for name in same} == {name: own[name] for name in same}
    assert {name: row[name] for name in ("item_key", "source_key", "uri", "page_first", "page_last")} == {
        "item_key": SHARER,
        "source_key": f"source {SHARER}",
        "uri": f"/in/{SHARER}.pdf",
        "page_first": 3,
        "page_last": 4,
    }
    assert (row["question_id"], row["question"], row["content_key"]) == ("own", "Mine?", "c")
    assert (row["run_id"], row["settings_key"]) == (plan.run_id, plan.settings_key)
    assert (row["shared_from"], row["prompt_key"]) == (OWNER, PROMPT)
    assert {name: row[name] for name in seen} == seen
    assert row["fields"] == [{"path": "total", "confidence": 0.25, "page": 3, "box": None}]
    assert (row["cached_tokens"], row["output_tokens"]) == (row["prompt_tokens"], 0)


def test_a_document_that_was_not_drawn_has_its_owners_notes(make: Callable[[], Resolver]) -> None:
    rows = answered(OWNER, note="page 1 is bad", pages_missing=[1]), carrier(SHARER, OWNER, prompt_key=None)
    row = resolve(make(), *rows)[SHARER]
    assert (row["note"], row["pages_missing"]) == ("page 1 is bad", [1])


def test_where_an_owner_fails_its_sharers_fail_for_the_same_reason(make: Callable[[], Resolver]) -> None:
    found = resolve(make(), carrier(THIRD, SHARER), carrier(SHARER, OWNER), failed(OWNER))
    for item in (SHARER, THIRD):
        row = found[item]
        assert (row["stage"], row["reason"], row["shared_from"]) == ("open", "needs_password", OWNER)
        assert row["message"] == ("identical to /docs/b.pdf, which failed: The document needs a password."), (
            "and a chain says it once"
        )
        assert (row["uri"], row["page_first"]) == (f"/in/{item}.pdf", 3)


def test_what_a_failure_has_of_a_target_is_its_sharers_too(make: Callable[[], Resolver]) -> None:
    evidence = [{"path": "total", "confidence": 0.25, "page": 2, "box": None}]
    seen = {"note": "first frame", "pages_missing": [4], "page_damaged": True}
    owner = failed(OWNER)
    owner["failure"] |= {"partial": '{"total":1}', "fields": evidence, "page_first": 1, "page_last": 2}
    row = resolve(make(), owner, carrier(SHARER, OWNER, **seen))[SHARER]
    assert (row["partial"], row["fields"][0]["page"]) == ('{"total":1}', 4)
    assert {name: row[name] for name in seen} == seen
    row = resolve(make(), owner, carrier(SHARER, OWNER, prompt_key=None, **seen))[SHARER]
    assert (row["pages_missing"], row["note"], row["page_damaged"]) == (None, None, None)


def test_a_chain_names_the_one_that_was_asked(make: Callable[[], Resolver]) -> None:
    found = resolve(make(), carrier(THIRD, SHARER), answered(OWNER), carrier(SHARER, OWNER))
    assert {item: row["shared_from"] for item, row in found.items()} == {
        OWNER: None,
        SHARER: OWNER,
        THIRD: OWNER,
    }


ROWS = [
    answered(OWNER),
    carrier(SHARER, OWNER),
    carrier(THIRD, SHARER, prompt_key=None),
    carrier(OTHER, OWNER),
]


@given(st.permutations([*range(4), *range(4)]), st.integers(1, 8))
def test_any_order_and_any_repetition_give_the_same_rows(
    make: Callable[[], Resolver], order: list[int], size: int
) -> None:
    resolver, found = make(), list[Row]()
    for start in range(0, len(order), size):
        batch = table_of([ROWS[number] for number in order[start : start + size]], SCHEMA)
        found += [row[ANSWER] for row in resolver.resolve(batch).to_pylist() if row["kind"] == ANSWER]
    shared = {row["item_key"]: row["shared_from"] for row in found}
    assert shared == {OWNER: None, SHARER: OWNER, THIRD: OWNER, OTHER: OWNER}
    assert len(found) == 5, "only what came twice from a task is there twice, for `DocumentProgress` to drop"
    assert len(resolver.rest()) == 0


def test_who_was_asked_after_all_shares_no_more(make: Callable[[], Resolver]) -> None:
    resolver = make()
    found = resolve(
        resolver, carrier(SHARER, OWNER), answered(SHARER), answered(OWNER), carrier(SHARER, OWNER)
    )
    assert {item: row["shared_from"] for item, row in found.items()} == {SHARER: None, OWNER: None}
    assert len(resolver.rest()) == 0


def test_an_owner_that_never_comes_costs_a_failure_and_not_the_run(make: Callable[[], Resolver]) -> None:
    resolver = make()
    resolve(resolver, carrier(SHARER, OWNER))
    (row,) = resolver.rest().to_pylist()
    assert (row["kind"], row["item_key"], row["shared_from"]) == (FAILURE, SHARER, OWNER)
    assert (row[FAILURE]["stage"], row[FAILURE]["reason"]) == ("generate", "owner_lost")


def test_another_prompt_than_the_promised_one_is_not_shared(make: Callable[[], Resolver]) -> None:
    found = resolve(make(), carrier(SHARER, OWNER), answered(OWNER, prompt_key=OTHER))
    assert found[SHARER]["reason"] == "owner_lost"


def test_answers_of_earlier_runs_are_shared_from_the_table(plan: Plan, tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    there = [
        answer(key, text).model_copy(update={"prompt_key": prompt, "settings_key": settings})
        for key, text, prompt, settings in (
            (OTHER, "no", "5" * 32, "others"),
            (THIRD, "no", None, plan.settings_key),
            (OWNER, "yes", PROMPT, plan.settings_key),
        )
    ]
    show(tables, tables["answers"], to_table(Answer, there))
    resolver, pairs = Resolver(plan, [tables["answers"]]), list[tuple[str, str]]()
    resolver.seed(pairs.extend)
    assert pairs == [(PROMPT, OWNER)]
    row = resolve(resolver, carrier(SHARER, OWNER))[SHARER]
    assert (row["answer"], row["shared_from"], row["run_id"]) == ("yes", OWNER, plan.run_id)
    another = Resolver(plan, [tables["answers"]])
    another.seed(pairs.extend)
    for file in (tmp_path / "answers" / "text").glob("*.parquet"):
        file.unlink()  # as a VACUUM without retention would, after the row was replaced
    assert resolve(another, carrier(SHARER, OWNER))[SHARER]["reason"] == "owner_lost"


def test_rows_that_nobody_shares_pass_as_they_are(make: Callable[[], Resolver]) -> None:
    batch = table_of([answered(OWNER), failed(OTHER)], SCHEMA)
    assert make().resolve(batch).equals(pa.concat_tables([batch]))
