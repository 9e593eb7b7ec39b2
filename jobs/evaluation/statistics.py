"""How sure a score is, and whether two of them differ: resampling, seeded, so that figures can be repeated.

Questions about one document are not independent: documents are drawn, not questions. In: scores and the
documents that they are about. Out: intervals and probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 2_000
PERMUTATIONS: Final = 10_000
SURE: Final = 0.05  # a difference with a smaller p is taken for none of chance
_SEED: Final = 0
_CHUNK: Final = 2**22  # weights drawn together
# For a difference to be seen at the 5% level in 80% of repetitions: 1.96 + 0.84 standard errors.
_SEEN: Final = 2.8

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """B minus A on the same questions."""

    mean: float
    low: float
    high: float
    p: float
    """The probability of a difference this large if A and B were equal, two-sided."""
    visible: float
    """The least difference that would have been seen, at the 5% level, in four of five repetitions."""
    n: int
    documents: int
    """That the questions are about: the test turns each one's difference over as a whole."""
    better: int
    worse: int

    @property
    def verdict(self) -> str:
        """What the test says, in a sentence."""
        where = f"{self.n:,} questions about {self.documents:,} documents"
        if self.p < SURE:
            return f"a difference that chance makes in {self.p:.2%} of cases, over {where}"
        if self.visible >= 1:
            return f"it may be chance: over {where}, no difference can be told from it"
        return f"it may be chance: over {where}, a difference is seen from some {self.visible:.1%} on"


def bootstrap(scores: Sequence[float], documents: Sequence[str]) -> Interval:
    """The mean of scores, with a percentile interval from documents drawn with replacement.

    Raises ValueError if there are none.
    """
    if not scores:
        raise ValueError("there is no score to average")
    sums, counts = _by_document(np.asarray(scores, dtype=np.float64), documents)
    means = _resampled(sums, counts)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean=float(sums.sum() / counts.sum()), low=float(low), high=float(high), n=len(scores))


def compare(a: Sequence[float], b: Sequence[float], documents: Sequence[str]) -> Difference:
    """The difference of two runs over the same questions, by a paired permutation test."""
    differences = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    interval = bootstrap(differences.tolist(), documents)
    sums, counts = _by_document(differences, documents)
    rng = np.random.default_rng(_SEED)
    observed = abs(sums.sum())
    extreme = 0
    rows = max(1, _CHUNK // len(sums))
    for start in range(0, PERMUTATIONS, rows):
        signs = rng.integers(0, 2, size=(min(rows, PERMUTATIONS - start), len(sums))) * 2 - 1
        extreme += int((np.abs(signs @ sums) >= observed - 1e-9).sum())
    return Difference(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        p=(1 + extreme) / (1 + PERMUTATIONS),
        visible=float(_SEEN * _resampled(sums, counts).std()),
        n=len(differences),
        documents=len(sums),
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
    )


def _by_document(values: Values, documents: Sequence[str]) -> tuple[Values, Values]:
    """The sum of each document's scores, and how many it has."""
    _, places = np.unique(np.asarray(documents, dtype=object).astype(str), return_inverse=True)
    sums = np.bincount(places, weights=values).astype(np.float64, copy=False)
    counts = np.bincount(places).astype(np.float64)
    return sums, counts


def _resampled(sums: Values, counts: Values) -> Values:
    """The mean of each resample."""
    rng = np.random.default_rng(_SEED)
    rows = max(1, _CHUNK // len(sums))
    means = []
    for start in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - start)
        weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=size)
        means.append((weights @ sums) / (weights @ counts))
    return np.concatenate(means)
