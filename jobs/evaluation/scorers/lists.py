"""ANLS of the multi-page benchmarks: DUDE's, whose answers may be lists or missing, and MP-DocVQA's.

In: what the model wrote, and the accepted answers. Out: a score from 0.0 to 1.0. DUDE's is that of DUDEeval
(Van Landeghem et al. 2023, arXiv 2305.08455), which is given answers as lists: what a model writes as text is
divided here.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jobs.evaluation.scorers.texts import folded, levenshtein, some

Matrix = NDArray[np.float64]
Places = NDArray[np.int64]
NOT_ANSWERABLE: Final = "not answerable"
_THRESHOLD: Final = 0.5


def dude_anls(prediction: str, answers: Sequence[str], *, is_list: bool) -> float:
    """DUDE's score of an answer, or of a list of answers in any order.

    `answers` holds one empty text where the document does not answer; saying so is then the right answer.
    """
    if NOT_ANSWERABLE in folded(prediction):
        said = [""]
    elif is_list:
        said = divided(prediction)
    else:
        said = [prediction.strip()]
    if is_list:
        return list_anls(said, answers)
    return max(_similarity(said[0], answer) for answer in some(answers))


def divided(text: str) -> list[str]:
    """The items of a list as a model writes one: a line each, or, on one line, separated by ", "."""
    lines = [line.strip(" -*\t") for line in text.splitlines() if line.strip(" -*\t")]
    if len(lines) > 1:
        return lines
    return [item.strip() for item in text.strip().split(", ")]


def list_anls(said: Sequence[str], answers: Sequence[str]) -> float:
    """ANLSL: similarities in the best assignment, over the longer list's length. Neither list is empty.

    As DUDEeval has it, equal accepted answers count once in that length.
    """
    scores = [[_similarity(one, answer) for answer in some(answers)] for one in some(said)]
    return best_sum(scores) / max(len(said), len(set(answers)))


def best_sum(scores: Sequence[Sequence[float]] | Matrix) -> float:
    """The greatest sum of a matrix's values, at most one from each row and column (the Hungarian method).

    Rows take the best of their columns that is free; the others take theirs along shortest augmenting paths
    (Jonker and Volgenant 1987), with NumPy over all columns at once.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.shape[0] > values.shape[1]:
        values = values.T
    column_of = _assigned(-values)
    return float(sum(values[np.arange(len(values)), column_of].tolist()))


def _assigned(costs: Matrix) -> Places:
    """The column of each row, so that the sum of the costs is least; no more rows than columns are given."""
    rows, columns = costs.shape
    of_row, of_column = costs.min(axis=1), np.zeros(columns)  # potentials: costs less them are never negative
    column_of, holder = np.full(rows, -1), np.full(columns, -1)
    for row in range(rows):
        free = np.flatnonzero((costs[row] == of_row[row]) & (holder < 0))
        if len(free):
            column_of[row], holder[free[0]] = free[0], row
    for row in np.flatnonzero(column_of < 0).tolist():
        least, before = np.full(columns, np.inf), np.full(columns, -1)
        is_open = np.ones(columns, np.bool_)
        here, path = row, 0.0
        while True:
            lengths = path + costs[here] - of_row[here] - of_column
            shorter = is_open & (lengths < least)
            least[shorter], before[shorter] = lengths[shorter], here
            path = float(least[is_open].min())
            nearest = np.flatnonzero(is_open & (least == path))
            free = nearest[holder[nearest] < 0]
            at = int(free[0] if len(free) else nearest[0])
            is_open[at] = False
            if len(free):
                break
            here = int(holder[at])
        passed = np.flatnonzero(~is_open & (holder >= 0))
        of_row[holder[passed]] += path - least[passed]
        of_row[row] += path
        of_column[passed] -= path - least[passed]
        while at >= 0:  # each row on the path takes the column behind it
            here = int(before[at])
            holder[at] = here
            column_of[here], at = at, column_of[here]
    return column_of


def mp_docvqa_anls(prediction: str, answers: Sequence[str]) -> float:
    """MP-DocVQA's (Tito et al. 2022): white space within an answer counts, and "none" is no answer."""
    said = prediction.lower().strip()
    if said in ("", "none"):
        return 0.0
    wanted = [answer.lower().strip() for answer in some(answers)]
    best = max(1 - levenshtein(said, one) / max(len(said), len(one)) for one in wanted)
    return best if best >= _THRESHOLD else 0.0


def _similarity(said: str, answer: str) -> float:
    """DUDEeval's: edits between the folded texts, over the length of the texts as they are in capitals."""
    length = max(len(said.upper()), len(answer.upper()))
    near = 1 - (levenshtein(folded(said), folded(answer)) / length if length else 0.0)
    return near if near >= _THRESHOLD else 0.0
