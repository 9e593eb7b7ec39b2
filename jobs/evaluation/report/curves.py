"""Curves as SVG paths in a square of 100 by 100, y upwards: no script draws them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jobs.evaluation.calibration import RIGHT
from jobs.evaluation.report.items import Item

POINTS: Final = 200


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line, or points, with what the axes mean."""

    title: str
    x: str
    y: str
    points: tuple[tuple[float, float, str], ...]
    """In percent, and what a pointer shows."""
    diagonal: bool = False

    @property
    def path(self) -> str:
        """The d of an SVG path."""
        return "M" + " L".join(f"{x:.2f},{100 - y:.2f}" for x, y, _ in self.points)


def reliability(bins: Sequence[dict[str, float]]) -> Curve:
    """Confidence against the share of right answers."""
    return Curve(
        title="Reliability",
        x="confidence",
        y="right",
        points=tuple(
            (
                100 * one["confidence"],
                100 * one["right"],
                f"{one['count']:,} answers with {one['confidence']:.2f}: {one['right']:.0%} right",
            )
            for one in bins
        ),
        diagonal=True,
    )


def kept_error(items: Sequence[Item]) -> Curve | None:
    """The share of wrong answers among the most confident, against how many are kept. None without scores."""
    known = [one for one in items if one.score is not None]
    if not known:
        return None
    known.sort(key=lambda one: -1.0 if one.confidence is None else one.confidence, reverse=True)
    wrong, points = 0, []
    step = max(1, len(known) // POINTS)
    for count, one in enumerate(known, 1):
        wrong += (one.score or 0.0) < RIGHT
        if count % step == 0 or count == len(known):
            share, error = count / len(known), wrong / count
            points.append((100 * share, 100 * error, f"{share:.0%} kept: {error:.1%} wrong"))
    return Curve(
        title="Wrong among those kept", x="kept, the most confident first", y="wrong", points=tuple(points)
    )
