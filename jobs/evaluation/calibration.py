"""Whether confidences tell right answers from wrong ones, and what may be done with that.

In: the confidence of each answer and whether it is right; questions without an answer are not among them, but
for `error_after_review`. Out: plain numbers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 10
PRECISIONS: Final = (0.9, 0.95, 0.99)
REVIEWED: Final = 0.1  # the share of answers that a person sees
RIGHT: Final = 0.5  # the least score of an answer that counts as right
_CLOSE: Final = 1e-6  # to 0 and 1, where a logit has no value
_TEMPERATURES: Final = np.exp(np.linspace(np.log(0.05), np.log(20), 400))

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Answers of about one confidence."""

    low: float
    high: float
    count: int
    confidence: float
    """Their mean."""
    right: float
    """The share of right ones."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The confidence from which on the wanted share of answers is right."""

    precision: float
    confidence: float | None
    """None: no confidence reaches it."""
    share: float
    """Of all questions, how many are answered with it."""


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """A correction of the confidences, fitted on one half of the documents and shown on the other."""

    temperature: float
    """Above 1: the model is too sure."""
    before: float
    """The expected calibration error of the other half, as it is."""
    after: float
    n: int
    """Answers in the other half."""


def reliability(confidences: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """The answers in bins of equal width; empty ones are left out."""
    values, hits = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    places = np.minimum((values * BINS).astype(int), BINS - 1)
    return [
        Bin(
            low=place / BINS,
            high=(place + 1) / BINS,
            count=int(inside.sum()),
            confidence=float(values[inside].mean()),
            right=float(hits[inside].mean()),
        )
        for place in range(BINS)
        if (inside := places == place).any()
    ]


def expected_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """ECE: the mean distance of confidence and share of right answers, over the bins by their counts."""
    bins = reliability(confidences, right)
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.confidence - one.right) for one in bins) / total if total else 0.0


def error_after_review(
    confidences: Sequence[float | None], right: Sequence[bool], share: float = REVIEWED
) -> float:
    """The share of wrong answers among those that nobody sees, if the least confident ones go to a person.

    A question without an answer has no confidence, and goes first.
    """
    order = sorted(range(len(right)), key=lambda at: (confidences[at] is not None, confidences[at] or 0.0))
    kept = order[round(len(order) * share) :]
    return sum(not right[at] for at in kept) / len(kept) if kept else 0.0


def threshold(confidences: Sequence[float], right: Sequence[bool], precision: float, asked: int) -> Threshold:
    """The least confidence from which on `precision` of the answers are right.

    `asked` counts all questions, also those without an answer.
    """
    order = np.argsort(-np.asarray(confidences, dtype=np.float64), kind="stable")
    values = np.asarray(confidences, dtype=np.float64)[order]
    shares = np.cumsum(np.asarray(right, dtype=np.float64)[order]) / np.arange(1, len(order) + 1)
    last = np.append(values[1:] != values[:-1], True) if len(values) else np.zeros(0, dtype=bool)
    found = np.flatnonzero((shares >= precision) & last)
    if not len(found):
        return Threshold(precision=precision, confidence=None, share=0.0)
    return Threshold(
        precision=precision, confidence=float(values[found[-1]]), share=(int(found[-1]) + 1) / asked
    )


def temperature(
    confidences: Sequence[float], right: Sequence[bool], documents: Sequence[str]
) -> Temperature | None:
    """Temperature scaling (Guo et al. 2017, arXiv 1706.04599) of the confidences' logits.

    Documents are halved by the hash of their names. None: a half has no answers, or no right or no wrong one.
    """
    half = np.array([hashlib.sha256(name.encode()).digest()[0] % 2 == 0 for name in documents], dtype=bool)
    values = np.clip(np.asarray(confidences, dtype=np.float64), _CLOSE, 1 - _CLOSE)
    hits = np.asarray(right, dtype=np.float64)
    if not half.any() or half.all() or hits[half].min() == hits[half].max():
        return None
    logits = np.log(values / (1 - values))
    losses = [_loss(_scaled(logits[half], one), hits[half]) for one in _TEMPERATURES]
    best = float(_TEMPERATURES[int(np.argmin(losses))])
    others = hits[~half].astype(bool).tolist()
    return Temperature(
        temperature=best,
        before=expected_error(values[~half].tolist(), others),
        after=expected_error(_scaled(logits[~half], best).tolist(), others),
        n=len(others),
    )


def _scaled(logits: Values, by: float) -> Values:
    scaled: Values = 1 / (1 + np.exp(-logits / by))
    return scaled


def _loss(confidences: Values, hits: Values) -> float:
    safe = np.clip(confidences, _CLOSE, 1 - _CLOSE)
    return float(-(hits * np.log(safe) + (1 - hits) * np.log(1 - safe)).mean())
