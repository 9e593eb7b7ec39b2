"""ANLS: normalised Levenshtein similarity, of texts and of nested values.

In: a predicted answer and the accepted ones. Out: a score from 0.0 to 1.0; ANLS is its average.
"""

from collections.abc import Sequence
from typing import Any

from jobs.evaluation.scorers.extras import need
from jobs.evaluation.scorers.texts import folded, similarity, some, without_end_punctuation


def anls(prediction: str, answers: Sequence[str], *, threshold: float = 0.5) -> float:
    """Similarity with the nearest accepted answer, or 0.0 where that is below `threshold`.

    Case and runs of white space do not count. The DocVQA leaderboard uses 0.5; its script keeps a similarity
    of exactly 0.5, which the paper (Biten et al. 2019, arXiv 1905.13648) drops.
    """
    said = folded(prediction)
    best = max(similarity(said, folded(answer)) for answer in some(answers))
    return best if best >= threshold else 0.0


def anls_without_threshold(prediction: str, answers: Sequence[str]) -> float:
    """ANLS as mistral-evals d61811f has it (`ANLS`): threshold 0.0, and no punctuation at any end."""
    said = without_end_punctuation(folded(prediction))
    return max(similarity(said, without_end_punctuation(folded(answer))) for answer in some(answers))


def nested_anls(prediction: Any, answer: Any) -> float:
    """ANLS* (Peer et al. 2024, arXiv 2402.03848) of JSON: objects by their keys, lists in the best order.

    Numbers are compared as texts, as the authors' package anls-star does. Raises ValueError without it.
    """
    return float(need("anls_star").anls_score(answer, prediction))
