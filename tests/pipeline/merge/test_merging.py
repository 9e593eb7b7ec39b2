"""One answer of many windows is what a plain reading of the rules gives, value by value."""

import re
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from pipeline.merge.merging import MergedAnswer, WindowAnswer, merge
from schemas.arrow import arrow_type, json_text, to_table


class Item(BaseModel):
    """A line."""

    name: str
    amount: int | None = None


class Party(BaseModel):
    """A nested struct."""

    name: str | None = None
    aliases: list[str] | None = None


class Paper(BaseModel):
    """Every kind of value, each of which a page may lack."""

    number: str | None = None
    total: int | None = None
    party: Party | None = None
    items: list[Item] | None = None


KIND = arrow_type(Paper)


def leaves(value: Any, path: str = "") -> list[str]:
    """The paths of values without values in them."""
    if isinstance(value, dict) and value:
        return [
            leaf for name, item in value.items() for leaf in leaves(item, f"{path}.{name}" if path else name)
        ]
    if isinstance(value, list) and value:
        return [leaf for number, item in enumerate(value) for leaf in leaves(item, f"{path}[{number}]")]
    return [path]


def at(value: Any, path: str) -> Any:
    for part in re.findall(r"[^.\[\]]+", path):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def window(
    first: int,
    last: int,
    answer: dict[str, Any],
    sure: float | dict[str, float] = 0.5,
    missing: tuple[int, ...] = (),
) -> WindowAnswer:
    def of(path: str) -> float:
        return sure.get(path, 0.5) if isinstance(sure, dict) else sure

    fields = {path: {"path": path, "confidence": of(path)} for path in leaves(answer)}
    return WindowAnswer(first=first, last=last, answer=answer, fields=fields, missing=frozenset(missing))


def lists(*windows: tuple[int, int, list[str]], missing: tuple[int, ...] = ()) -> list[str]:
    """What comes of lists of names."""
    given = [
        window(first, last, {"items": [{"name": name, "amount": None} for name in names]}, missing=missing)
        for first, last, names in windows
    ]
    return [item["name"] for item in merge(KIND, given).answer["items"]]


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([(1, 4, "ab"), (5, 8, "cd")], "abcd"),
        ([(1, 4, "abc"), (5, 8, "cd")], "abcd"),  # the row across the page break
        ([(1, 4, "abc"), (5, 8, "bcd")], "abcd"),
        ([(1, 4, "axx"), (5, 8, "xxb")], "axxxb"),  # no more than need be
        ([(1, 4, "aab"), (5, 8, "cbb")], "aabcbb"),  # equal rows within a window
        ([(1, 4, "abc"), (9, 12, "cd")], "abccd"),  # nobody has seen what is between
        ([(1, 4, "abc"), (5, 8, ""), (9, 12, "cd")], "abccd"),
        ([(1, 4, "abc"), (5, 8, "c"), (9, 12, "cd")], "abcd"),
        ([(1, 1, "a"), (2, 2, "a"), (3, 3, "a")], "a"),
        ([(1, 4, ""), (5, 8, "")], ""),
    ],
)
def test_lists_are_joined_and_seams_are_closed(windows: list[tuple[int, int, str]], expected: str) -> None:
    assert lists(*((first, last, list(names)) for first, last, names in windows)) == list(expected)


def test_no_seam_is_closed_at_a_page_that_nobody_has_seen() -> None:
    for page in (4, 5):
        assert lists((1, 4, ["a", "b"]), (5, 8, ["b", "c"]), missing=(page,)) == ["a", "b", "b", "c"]
    assert lists((1, 4, ["a", "b"]), (5, 8, ["b", "c"]), missing=(2, 7)) == ["a", "b", "c"]


def test_an_item_counts_as_the_same_in_all_of_its_values_alone() -> None:
    seams = [{"name": "tea", "amount": 1}, {"name": "tea", "amount": None}]
    found = merge(KIND, [window(1, 1, {"items": seams[:1]}), window(2, 2, {"items": seams[1:]})])
    assert found.answer["items"] == seams


def test_the_surest_scalar_is_taken_and_the_others_are_conflicts() -> None:
    found = merge(
        KIND,
        [
            window(1, 4, {"number": "A", "total": 7, "party": {"name": "X", "aliases": ["x"]}}, 0.6),
            window(5, 8, {"number": None, "total": 8, "party": None}, 0.9),
            window(9, 9, {"number": "B", "total": 7, "party": {"name": "X", "aliases": None}}, 0.7),
            window(10, 11, {"number": "B", "total": None, "party": None}, 0.8, missing=(11,)),
        ],
    )
    assert found.answer == {
        "number": "B",
        "total": 8,
        "party": {"name": "X", "aliases": ["x"]},
        "items": None,
    }
    places = {
        field["path"]: (field["confidence"], field["page"], field["page_first"], field["page_last"])
        for field in found.fields
    }
    assert places == {
        "number": (0.8, 10, 10, 11),
        "total": (0.9, None, 5, 8),
        "party.name": (0.7, 9, 9, 9),
        "party.aliases[0]": (0.6, None, 1, 4),
    }
    conflicts = [(one["path"], one["answer"], one["confidence"], one["page"]) for one in found.conflicts]
    assert conflicts == [("number", '"A"', 0.6, None), ("total", "7", 0.7, 9)]


def test_of_equally_sure_windows_the_first_is_taken() -> None:
    found = merge(KIND, [window(1, 1, {"total": 1}), window(2, 2, {"total": 2}), window(3, 3, {"total": 1})])
    assert (found.answer["total"], [one["answer"] for one in found.conflicts]) == (1, ["2"])


def test_a_null_is_no_answer_and_the_surest_one_is_kept() -> None:
    found = merge(KIND, [window(1, 1, {"number": None}, 0.3), window(2, 2, {"number": None}, 0.9)])
    assert found.answer["number"] is None
    assert [(field["path"], field["confidence"], field["page"]) for field in found.fields] == [
        ("number", 0.9, 2)
    ]


def test_a_page_that_evidence_has_found_stays() -> None:
    one = window(1, 4, {"total": 3})
    one.fields["total"] |= {"page": 3, "box": {"x0": 0.0, "y0": 0.0, "x1": 1.0, "y1": 1.0}}
    (found,) = merge(KIND, [one]).fields
    assert (found["page"], found["box"], found["page_first"]) == (3, one.fields["total"]["box"], 1)


def test_values_that_validators_have_added_have_no_place() -> None:
    bare = WindowAnswer(
        first=1, last=2, answer={"total": 3, "items": [{"name": "a", "amount": 1}]}, fields={}
    )
    found = merge(KIND, [bare, window(3, 3, {"total": 4}, 0.1)])
    assert (found.answer["total"], found.answer["items"]) == (4, [{"name": "a", "amount": 1}])
    assert [field["path"] for field in found.fields] == ["total"]
    assert [(one["answer"], one["confidence"]) for one in found.conflicts] == [("3", 0.0)]


class Odd(BaseModel):
    """Values that are equal and look different."""

    amount: Decimal = Field(max_digits=9, decimal_places=2)


def test_equal_numbers_are_no_conflict() -> None:
    kind = arrow_type(Odd)
    found = merge(
        kind, [window(1, 1, {"amount": Decimal("1.5")}), window(2, 2, {"amount": Decimal("1.50")}, 0.9)]
    )
    assert (found.answer["amount"], found.conflicts) == (Decimal("1.5"), [])


# A plain reference: each path of the merged answer by itself, over all windows.

NAMES = st.sampled_from("abc")
ITEMS = st.lists(st.fixed_dictionaries({"name": NAMES, "amount": st.none() | st.integers(0, 1)}), max_size=4)
PARTIES = st.fixed_dictionaries(
    {"name": st.none() | NAMES, "aliases": st.none() | st.lists(NAMES, max_size=3)}
)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "number": st.none() | NAMES,
        "total": st.none() | st.integers(0, 2),
        "party": st.none() | PARTIES,
        "items": st.none() | ITEMS,
    },
)


@st.composite
def documents(draw: st.DrawFn) -> list[WindowAnswer]:
    """Windows of one to three pages, some of which have failed."""
    found, page = [], 1
    for _ in range(draw(st.integers(1, 6))):
        first, page = page, page + draw(st.integers(1, 3))
        if draw(st.integers(0, 4)) == 0:
            continue
        answer = draw(ANSWERS)
        pages = st.sets(st.integers(first, page - 1), max_size=page - first - 1)
        sure = {path: draw(st.sampled_from([0.1, 0.5, 0.9])) for path in leaves(answer)}
        found.append(window(first, page - 1, answer, sure, missing=tuple(draw(pages))))
    return found


def reference_scalar(windows: list[WindowAnswer], path: str) -> tuple[Any, list[str]]:
    said = []
    for one in windows:
        value: Any = one.answer
        for part in path.split("."):
            value = None if value is None else value.get(part)
        if value is not None:
            said.append((value, one.fields[path]["confidence"]))
    if not said:
        return None, []
    best = max(confidence for _, confidence in said)
    taken = next(value for value, confidence in said if confidence == best)
    others: list[str] = []
    for value, _ in said:
        if value != taken and json_text(value) not in others:
            others.append(json_text(value))
    return taken, others


def reference_list(windows: list[WindowAnswer], path: str) -> list[Any] | None:
    said = []
    for one in windows:
        value: Any = one.answer
        for part in path.split("."):
            value = None if value is None else value.get(part)
        if value is not None:
            said.append((one, value))
    if not said:
        return None
    joined = list(said[0][1])
    for (before, old), (after, new) in pairwise(said):
        skip = 0
        if after.first == before.last + 1 and not {before.last, after.first} & (
            before.missing | after.missing
        ):
            for size in range(min(len(old), len(new)), 0, -1):
                if old[len(old) - size :] == new[:size]:
                    skip = size
        joined += new[skip:]
    return joined


@given(windows=documents())
def test_it_is_what_the_rules_say(windows: list[WindowAnswer]) -> None:
    found = merge(KIND, windows)
    for path in ("number", "total", "party.name"):
        taken, others = reference_scalar(windows, path)
        there = found.answer[path] if "." not in path else (found.answer["party"] or {}).get("name")
        assert there == taken
        assert [one["answer"] for one in found.conflicts if one["path"] == path] == others
    assert found.answer["items"] == reference_list(windows, "items")
    assert (found.answer["party"] or {}).get("aliases") == reference_list(windows, "party.aliases")
    assert (found.answer["party"] is None) == all(one.answer.get("party") is None for one in windows)
    check_places(windows, found)
    row = to_table(Paper, [Paper.model_validate(found.answer)]).to_pylist()[0]
    assert row == found.answer


def check_places(windows: list[WindowAnswer], found: MergedAnswer) -> None:
    """Each value has a place, in a window that has said so."""
    known = {(one.first, one.last): one for one in windows}
    paths = [field["path"] for field in found.fields]
    assert len(set(paths)) == len(paths)
    assert set(paths) <= set(leaves(found.answer))
    for path in set(leaves(found.answer)) - set(paths):
        assert at(found.answer, path) is None, "a field that no window has said anything about"
    for field in found.fields:
        one = known[field["page_first"], field["page_last"]]
        there = [
            at(one.answer, path)
            for path, said in one.fields.items()
            if re.sub(r"\d+", "", path) == re.sub(r"\d+", "", field["path"])
            and said["confidence"] == field["confidence"]
        ]
        assert at(found.answer, field["path"]) in there


def test_the_page_of_a_value_is_the_only_one_that_its_window_has_seen() -> None:
    assert window(3, 5, {"total": 1}, missing=(3, 5)).place("total")["page"] == 4
    assert window(3, 5, {"total": 1}, missing=(3,)).place("total")["page"] is None
