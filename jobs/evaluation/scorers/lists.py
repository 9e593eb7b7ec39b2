"""ANLS of the multi-page benchmarks: DUDE's, whose answers may be lists or missing, and MP-DocVQA's.

In: what the model wrote, and the accepted answers. Out: a score from 0.0 to 1.0. DUDE's is that of DUDEeval
(Van Landeghem et al. 2023, arXiv 2305.08455), which is given answers as lists: what a model writes as text is
divided here.
"""

from collections.abc import Sequence
from typing import Final

from jobs.evaluation.scorers.texts import folded, levenshtein, some

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


def best_sum(scores: Sequence[Sequence[float]]) -> float:
    """The greatest sum of a matrix's values, at most one from each row and column (the Hungarian method).

    Rows take their columns one after the other along shortest augmenting paths (Jonker and Volgenant 1987).
    """
    rows, columns = len(scores), len(scores[0])
    if rows > columns:
        return best_sum(list(zip(*scores, strict=True)))
    of_row, of_column = [0.0] * (rows + 1), [0.0] * (columns + 1)  # potentials; place 0 stands for none
    holder = [0] * (columns + 1)
    for row in range(1, rows + 1):
        holder[0], at = row, 0
        least, before = [float("inf")] * (columns + 1), [0] * (columns + 1)
        done = [False] * (columns + 1)
        while holder[at]:
            done[at] = True
            here, delta, following = holder[at], float("inf"), 0
            for column in range(1, columns + 1):
                if done[column]:
                    continue
                cost = -scores[here - 1][column - 1] - of_row[here] - of_column[column]
                if cost < least[column]:
                    least[column], before[column] = cost, at
                if least[column] < delta:
                    delta, following = least[column], column
            for column in range(columns + 1):
                if done[column]:
                    of_row[holder[column]] += delta
                    of_column[column] -= delta
                else:
                    least[column] -= delta
            at = following
        while at:
            holder[at], at = holder[before[at]], before[at]
    return sum(scores[holder[column] - 1][column - 1] for column in range(1, columns + 1) if holder[column])


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
