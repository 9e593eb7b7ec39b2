"""OmniDocBench's `quick_match` (523fd1d): which texts that a model wrote are which of a page's.

In: the texts of a page and those of a model, both without punctuation, in their order. Out: groups of both. A
text of the page may have been cut into several, which are joined; several may have been written as one. Every
rule and number is its own: a distance is a number of edits over a length.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from jobs.evaluation.scorers.assignment import assigned

Distances = npt.NDArray[np.float64]
Group = tuple[list[int], list[int]]
"""Places among the page's texts, and among the model's: at least one of the page's."""
SURE: Final = 0.25
FARTHEST: Final = 0.7
WITHIN: Final = 0.4
_PART: Final = 0.6


def groups(wanted: Sequence[str], said: Sequence[str]) -> list[Group]:
    """Every text of the page in one group, those that nothing was written of by themselves."""
    runs = _joined(wanted, said)
    lines = [" ".join(said[place] for place in run) for run in runs]
    between = distances(wanted, lines)
    column_of = pairs(between)
    found: dict[tuple[int, ...], list[int]] = {}
    missing = []
    for row in range(len(wanted)):
        if row in column_of and between[row, column_of[row]] <= FARTHEST:
            found[tuple(runs[column_of[row]])] = [row]
        else:
            missing.append(row)
    taken: set[int] = set()
    for place, line in enumerate(said):
        inside = [row for row in missing if _part_distance(line, wanted[row], WITHIN) < WITHIN]
        if inside:
            found.setdefault((place,), []).extend(row for row in inside if row not in taken)
            taken.update(inside)
    return _with_the_rest(found, wanted, said)


def distances(wanted: Sequence[str], said: Sequence[str]) -> Distances:
    """Edits over the longer text's length, of each with each."""
    if not wanted or not said:
        return np.zeros((len(wanted), len(said)))
    edits = cdist(wanted, said, scorer=Levenshtein.distance, dtype=np.int32)
    lengths = np.maximum(np.array([len(one) for one in wanted])[:, None], [len(one) for one in said])
    return np.asarray(edits / np.maximum(1, lengths), dtype=np.float64)


def pairs(between: Distances) -> dict[int, int]:
    """The column of each row, or of some, so that the sum of their distances is least."""
    rows, columns = between.shape
    if not rows or not columns:
        return {}
    if rows <= columns:
        return dict(enumerate(assigned(between)))
    return {row: column for column, row in enumerate(assigned(between.T))}


def _with_the_rest(
    found: dict[tuple[int, ...], list[int]], wanted: Sequence[str], said: Sequence[str]
) -> list[Group]:
    """The groups so far; what is left of both sides, in pairs; what is left of the page's, alone."""
    whole = [(sorted(rows), list(places)) for places, rows in found.items() if rows]
    # In the order of a set, as there: it decides between pairs that are equally far apart.
    rows = list(set(range(len(wanted))) - {row for group in found.values() for row in group})
    places = list(set(range(len(said))) - {place for places in found for place in places})
    column_of = pairs(distances([wanted[row] for row in rows], [said[place] for place in places]))
    whole += [([rows[row]], [places[column]]) for row, column in sorted(column_of.items())]
    return whole + [([row], []) for number, row in enumerate(rows) if number not in column_of]


def _joined(wanted: Sequence[str], said: Sequence[str]) -> list[list[int]]:
    """The model's texts as runs of neighbours that are parts of one text of the page."""
    sure = distances(wanted, said) < SURE
    rows = np.flatnonzero(~sure.any(axis=1)).tolist()
    is_open: npt.NDArray[np.bool_] = np.asarray(~sure.any(axis=0))
    chosen = []
    for row in rows:
        runs = [_run(wanted[row], said, place, is_open) for place in np.flatnonzero(is_open).tolist()]
        if runs:
            lines = [" ".join(said[place] for place in run) for run in runs]
            costs = distances([wanted[row]], lines)[0]
            best = int(costs.argmin())
            chosen.append((runs[best], float(costs[best])))
    kept = {run[0]: run for run in _compatible(chosen)}
    inner = {place for run in kept.values() for place in run[1:]}
    return [kept.get(place, [place]) for place in range(len(said)) if place not in inner]


def _run(wanted: str, said: Sequence[str], start: int, is_open: npt.NDArray[np.bool_]) -> list[int]:
    """From `start` on, the texts that a longer one of the page is made of."""
    end = start + 1
    is_part = _part_distance(wanted, said[start], _PART) <= _PART
    while is_part and end < len(said) and is_open[end]:
        before, joined = " ".join(said[start:end]), " ".join(said[start : end + 1])
        if _distance(wanted, joined) > _distance(wanted, before):
            break
        if _part_distance(wanted, said[end], _PART) >= _PART:
            break
        end += 1
        if len(joined) > len(wanted):
            break
    return list(range(start, end))


def _compatible(chosen: Sequence[tuple[list[int], float]]) -> list[list[int]]:
    """Runs of which no two share a text: of those that do, the set with the least average cost."""
    clusters: list[list[tuple[list[int], float]]] = []
    for one in sorted(chosen, key=lambda one: one[0][0]):
        if clusters and any(_share(one[0], other) for other, _ in clusters[-1]):
            clusters[-1].append(one)
        else:
            clusters.append([one])
    return [run for cluster in clusters for run in _cheapest(cluster)]


def _cheapest(cluster: Sequence[tuple[list[int], float]]) -> list[list[int]]:
    sets = [[cluster[0]]]
    for run, cost in cluster[1:]:
        is_new = True
        for some in sets:
            same = [place for place, (other, _) in enumerate(some) if other == run]
            for place in same:
                some[place] = (run, min(cost, some[place][1]))
            if not any(_share(run, other) for other, _ in some):
                some.append((run, cost))
                is_new = False
            is_new = is_new and not same
        if is_new:
            sets.append([(run, cost)])
    best = min(sets, key=lambda some: sum(cost for _, cost in some) / len(some))
    return [run for run, _ in best]


def _share(run: list[int], other: list[int]) -> bool:
    return not set(run).isdisjoint(other)


@lru_cache(2**16)  # a model in a loop writes the same over and over
def _distance(one: str, other: str) -> float:
    return Levenshtein.distance(one, other) / max(len(one), len(other))


@lru_cache(2**16)
def _part_distance(text: str, part: str, limit: float) -> float:
    """The least distance of a part from a piece of a text; above `limit`, some value above it."""
    if not part or len(part) > len(text):
        return float("inf")
    least = int(limit * len(part)) + 1
    for start in range(len(text) - len(part) + 1):
        edits = Levenshtein.distance(text[start : start + len(part)], part, score_cutoff=least)
        least = min(least, edits)
    return least / len(part)
