"""The least edits that make one ordered tree of another (Zhang and Shasha 1989), a row of numpy at a time.

In: the trees' shapes, and what it costs to rename each node of the first into each of the second, from 0.0
to 1.0. To insert or to delete a node costs 1. Out: what the cheapest edits cost. The nodes of a tree are
numbered in postorder, children before their parent; its shape is `lefts`: the first leaf below each node, or
itself. So a root with two leaves is [0, 1, 0].

A, B    nodes of the first and of the second tree
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def edit_cost(lefts_A: Ints, lefts_B: Ints, renames_AB: Floats) -> float:
    """The cost between two whole trees; a time of `steps` rows."""
    trees_AB = np.zeros_like(renames_AB)  # the cost between the tree below A and that below B
    _match_leaves(lefts_A, lefts_B, renames_AB, trees_AB)
    _match_leaves(lefts_B, lefts_A, renames_AB.T, trees_AB.T)
    for a in _roots(lefts_A):
        for b in _roots(lefts_B):
            _match(lefts_A[: a + 1], lefts_B[: b + 1], renames_AB, trees_AB)
    return float(trees_AB[-1, -1])


def steps(lefts_A: Ints, lefts_B: Ints) -> int:
    """How many rows `edit_cost` computes: it depends on the side of a tree that is the deeper one."""
    return sum(a + 1 - int(lefts_A[a]) for a in _roots(lefts_A)) * len(_roots(lefts_B))


def _roots(lefts: Ints) -> list[int]:
    """The nodes with children that are no first child: each is the top of a leftmost path."""
    tops = {int(left): node for node, left in enumerate(lefts)}
    return sorted(node for left, node in tops.items() if left != node)


def _match_leaves(lefts_A: Ints, lefts_B: Ints, renames_AB: Floats, trees_AB: Floats) -> None:
    """A leaf becomes the nearest node of a tree, and the others are inserted."""
    leaves = np.flatnonzero(lefts_A == np.arange(len(lefts_A)))
    renames = renames_AB[leaves]
    for node, left in enumerate(lefts_B):
        trees_AB[leaves, node] = renames[:, left : node + 1].min(axis=1) + (node - left)


def _match(lefts_A: Ints, lefts_B: Ints, renames_AB: Floats, trees_AB: Floats) -> None:
    """Fills in the trees on the leftmost paths to the last node of A and of B.

    A forest is what has been numbered so far: rows count the nodes of A in it, columns those of B.
    """
    a, b = len(lefts_A) - 1, len(lefts_B) - 1
    first_a, first_b = lefts_A[a], lefts_B[b]
    columns = slice(first_b, b + 1)
    before_B = lefts_B[columns] - first_b  # nodes of the forest before the tree below B
    on_path = before_B == 0
    inserted = np.arange(len(before_B) + 1, dtype=np.float64)
    forests = np.empty((a - first_a + 2, len(inserted)))
    forests[0] = inserted
    for row, node in enumerate(range(first_a, a + 1), 1):
        before = lefts_A[node] - first_a
        matched = forests[before, before_B] + trees_AB[node, columns]
        if before == 0:  # both forests are trees: their tops are matched
            matched[on_path] = (forests[row - 1, :-1] + renames_AB[node, columns])[on_path]
        forests[row, 0] = row
        forests[row, 1:] = np.minimum(matched, forests[row - 1, 1:] + 1)
        # With an insertion: the least of all columns before, and 1 for each column since.
        forests[row] = np.minimum.accumulate(forests[row] - inserted) + inserted
        if before == 0:
            trees_AB[node, columns][on_path] = forests[row, 1:][on_path]
