"""Measures in; whether the newest run differs from those before it, out.

Rates (failures, nulls) are compared by Fisher's exact test on documents, confidences by the rank test of Mann
and Whitney. A run drifts where a difference is both sure and large: its p-value, times the number of
comparisons, is below 0.0001, and it is at least five points of a hundred. With fewer than 20 documents on a
side nothing is said.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from typing import Final

import numpy as np

from jobs.quality.measures import Measure, Values

RUNS: Final = 7  # before the newest one, with documents, that it is compared with
LEAST: Final = 20  # documents on each side
SURE: Final = 1e-4  # most chance that a run like the others is said to drift
LARGE: Final = 0.05  # of a rate, or of a mean confidence


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One measure of the newest run beside those of the runs before."""

    measure: Measure
    documents: int
    documents_before: int
    now: float
    before: float
    p: float | None
    """The chance of such a difference between equal runs; None with too few documents."""
    drifts: bool = False

    @property
    def sentence(self) -> str:
        """Example: failures of s3://b/in/x: 12.0% of 50 documents, after 1.1% of 350 in the runs before"""
        what = {"failures": "failures of", "nulls": "nulls in", "confidence": "confidence in"}[
            self.measure.kind
        ]
        now, before = self.written
        return (
            f"{what} {self.measure.of}: {now} of {self.documents:,} documents, after {before} of "
            f"{self.documents_before:,} in the runs before"
        )

    @property
    def written(self) -> tuple[str, str]:
        """Both values."""
        if self.measure.kind == "confidence":
            return f"{self.now:.3f}", f"{self.before:.3f}"
        return f"{self.now:.1%}", f"{self.before:.1%}"


def compare(measures: Sequence[Measure], newest: str) -> list[Comparison]:
    """Each measure of a run beside the runs before it, where both have documents."""
    found = [one for measure in measures if (one := _compare(measure, newest)) is not None]
    tested = sum(one.p is not None for one in found)
    return [Comparison(**{**vars(one), "drifts": _drifts(one, tested)}) for one in found]


def drifts_of(comparisons: Iterable[Comparison]) -> list[str]:
    """A sentence for each measure that drifts."""
    return [one.sentence for one in comparisons if one.drifts]


def _drifts(one: Comparison, tested: int) -> bool:
    return one.p is not None and one.p * tested < SURE and abs(one.now - one.before) >= LARGE


def _compare(measure: Measure, newest: str) -> Comparison | None:
    now = measure.runs.get(newest, np.empty(0))
    earlier = [run_id for run_id in sorted(measure.runs) if run_id < newest and len(measure.runs[run_id])]
    if not len(now) or not earlier:
        return None
    before = np.concatenate([measure.runs[run_id] for run_id in earlier[-RUNS:]])
    p = None
    if min(len(now), len(before)) >= LEAST:
        p = mann_whitney(now, before) if measure.kind == "confidence" else fisher(now, before)
    return Comparison(
        measure=measure,
        documents=len(now),
        documents_before=len(before),
        now=float(now.mean()),
        before=float(before.mean()),
        p=p,
    )


def fisher(some: Values, others: Values) -> float:
    """The two-sided p-value of two samples of zeros and ones: twice that of the side on which they differ."""
    size, whole = len(some), len(some) + len(others)
    ones, marked = int(some.sum()), int(some.sum() + others.sum())
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, whole + 1)))])  # of factorials

    def choose(n: int, k: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Values:
        found: Values = logs[n] - logs[k] - logs[n - k]
        return found

    support = np.arange(max(0, size - (whole - marked)), min(size, marked) + 1)
    logarithms = choose(marked, support) + choose(whole - marked, size - support)
    chances = np.exp(logarithms - (logs[whole] - logs[size] - logs[whole - size]))
    low, high = chances[support <= ones].sum(), chances[support >= ones].sum()
    return float(min(1.0, 2 * min(low, high)))


def mann_whitney(some: Values, others: Values) -> float:
    """The two-sided p-value of the ranks of two samples, by the normal distribution, ties counted."""
    m, n = len(some), len(others)
    _, places, counts = np.unique(np.concatenate([some, others]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    u = ranks[:m].sum() - m * (m + 1) / 2
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / ((m + n) * (m + n - 1))
    deviation = sqrt(max(0.0, m * n / 12 * (m + n + 1 - ties)))
    difference = abs(u - m * n / 2) - 0.5
    return 1.0 if deviation == 0 or difference <= 0 else erfc(difference / deviation / sqrt(2))
