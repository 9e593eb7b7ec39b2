"""The least edits between trees: by hand, by definition, and of large and crooked trees in little time."""

import random
import time
from functools import cache
from typing import Any

import numpy as np
import pytest

from jobs.evaluation.scorers.teds import teds
from jobs.evaluation.scorers.tree_edits import edit_cost

Tree = tuple[str, tuple[Any, ...]]  # a name and subtrees


def test_a_root_with_two_leaves_becomes_one_with_one() -> None:
    assert edit_cost(np.array([0, 1, 0]), np.array([0, 0]), np.zeros((3, 2))) == 1.0
    assert edit_cost(np.array([0]), np.array([0]), np.array([[0.25]])) == 0.25


def _rename(one: str, other: str) -> float:
    return abs(ord(one) - ord(other)) / 8


def _defined(said: tuple[Tree, ...], wanted: tuple[Tree, ...]) -> float:
    """The cost between two forests: the last tree's top is deleted, inserted or renamed."""

    @cache
    def cost(some: tuple[Tree, ...], others: tuple[Tree, ...]) -> float:
        if not some and not others:
            return 0.0
        found = []
        if some:
            found.append(1 + cost(some[:-1] + some[-1][1], others))
        if others:
            found.append(1 + cost(some, others[:-1] + others[-1][1]))
        if some and others:
            (name, inside), (other, within) = some[-1], others[-1]
            found.append(_rename(name, other) + cost(inside, within) + cost(some[:-1], others[:-1]))
        return min(found)

    return cost(said, wanted)


def _drawn(draw: random.Random, nodes: int) -> Tree:
    inside: list[Tree] = []
    left = nodes - 1
    while left:
        count = draw.randint(1, left)
        inside.append(_drawn(draw, count))
        left -= count
    return draw.choice("abcdefgh"), tuple(inside)


def _flat(tree: Tree, names: list[str], lefts: list[int]) -> None:
    first = len(names)
    for child in tree[1]:
        _flat(child, names, lefts)
    names.append(tree[0])
    lefts.append(first)


def test_costs_are_those_of_the_definition() -> None:
    draw = random.Random(1)
    for _ in range(150):
        trees = [_drawn(draw, draw.randint(1, 12)) for _ in range(2)]
        names: list[list[str]] = [[], []]
        lefts: list[list[int]] = [[], []]
        for tree, some, firsts in zip(trees, names, lefts, strict=True):
            _flat(tree, some, firsts)
        renames = np.array([[_rename(one, other) for other in names[1]] for one in names[0]])
        cost = edit_cost(np.array(lefts[0]), np.array(lefts[1]), renames)
        assert cost == pytest.approx(_defined(*((tree,) for tree in trees)), abs=1e-12), trees


def _table(rows: int, columns: int, text: str) -> str:
    cells = [
        "".join(f"<td>{text} {row * column % 17}</td>" for column in range(columns)) for row in range(rows)
    ]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def test_a_table_of_a_thousand_nodes_takes_seconds() -> None:
    start = time.process_time()
    assert 0.3 < teds(_table(30, 32, "about"), _table(31, 31, "above")) < 1.0
    assert time.process_time() - start < 10  # 39 s by apted


def test_a_crooked_tree_takes_seconds() -> None:
    """The deeper side may come first or last: `<tfoot>` opens within the one before."""
    start = time.process_time()
    for said in (
        "<table>" + "<tfoot><tr><td>x" * 300,
        "<table>" + "<tfoot>" * 300 + "<tr><td>x</tr></tfoot>" * 300,
    ):
        assert 0.0 <= teds(said, _table(10, 10, "x")) < 0.3
    assert time.process_time() - start < 10
