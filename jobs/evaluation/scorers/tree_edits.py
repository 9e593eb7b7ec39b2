"""The least edits that make one ordered tree of another (Zhang and Shasha 1989), a row of numpy at a time.

In: the trees' shapes, and what it costs to rename each node of the first into each of the second, from 0.0
to 1.0. To insert or to delete a node costs 1. Out: what the cheapest edits cost. The nodes of a tree are
numbered in postorder, children before their parent; its shape is `lefts`: the first leaf below each node, or
itself. So a root with two leaves is [0, 1, 0].

A, B    nodes of the first and of the second tree
S       subtrees of the second one that have the same shape
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
    alike = _alike(lefts_B)
    for a in _roots(lefts_A):
        for before_B, columns_SB in alike:
            _match(lefts_A[: a + 1], before_B, columns_SB, renames_AB, trees_AB)
    return float(trees_AB[-1, -1])


def steps(lefts_A: Ints, lefts_B: Ints) -> int:
    """How many rows `edit_cost` computes: it depends on the side of a tree that is the deeper one."""
    return sum(a + 1 - int(lefts_A[a]) for a in _roots(lefts_A)) * len(_alike(lefts_B))


def _roots(lefts: Ints) -> list[int]:
    """The nodes with children that are no first child: each is the top of a leftmost path."""
    tops = {int(left): node for node, left in enumerate(lefts)}
    return sorted(node for left, node in tops.items() if left != node)


def _alike(lefts_B: Ints) -> list[tuple[Ints, Ints]]:
    """The trees below `_roots`, those of one shape together, as rows of a table are; small ones first.

    Of each shape `lefts`, and the nodes of each tree that has it: none of them lies in another one.
    """
    shapes: dict[bytes, tuple[Ints, list[Ints]]] = {}
    for b in _roots(lefts_B):
        nodes = np.arange(lefts_B[b], b + 1)
        before_B = lefts_B[nodes] - lefts_B[b]
        shapes.setdefault(before_B.tobytes(), (before_B, []))[1].append(nodes)
    found = [(before_B, np.array(nodes)) for before_B, nodes in shapes.values()]
    return sorted(found, key=lambda shape: len(shape[0]))


def _match_leaves(lefts_A: Ints, lefts_B: Ints, renames_AB: Floats, trees_AB: Floats) -> None:
    """A leaf becomes the nearest node of a tree, and the others are inserted."""
    leaves = np.flatnonzero(lefts_A == np.arange(len(lefts_A)))
    renames = renames_AB[leaves]
    for node, left in enumerate(lefts_B):
        trees_AB[leaves, node] = renames[:, left : node + 1].min(axis=1) + (node - left)


def _match(lefts_A: Ints, before_B: Ints, columns_SB: Ints, renames_AB: Floats, trees_AB: Floats) -> None:
    """Fills in the trees on the leftmost paths to the last node of A and of each subtree S.

    A forest is what has been numbered so far: rows count the nodes of A in it, columns those of B.
    `before_B` counts the nodes of a forest before the tree below B.
    """
    a = len(lefts_A) - 1
    first_a = lefts_A[a]
    on_path = before_B == 0
    inserted = np.arange(len(before_B) + 1, dtype=np.float64)
    forests = np.empty((a - first_a + 2, len(columns_SB), len(inserted)))
    forests[0] = inserted
    for row, node in enumerate(range(first_a, a + 1), 1):
        before = lefts_A[node] - first_a
        matched = forests[before][:, before_B] + trees_AB[node, columns_SB]
        if before == 0:  # both forests are trees: their tops are matched
            tops = forests[row - 1, :, :-1] + renames_AB[node, columns_SB]
            matched[:, on_path] = tops[:, on_path]
        forest = forests[row]
        forest[:, 0] = row
        forest[:, 1:] = np.minimum(matched, forests[row - 1, :, 1:] + 1)
        # With an insertion: the least of all columns before, and 1 for each column since.
        forest[:] = np.minimum.accumulate(forest - inserted, axis=1) + inserted
        if before == 0:
            trees_AB[node, columns_SB[:, on_path]] = forest[:, 1:][:, on_path]
