"""Two evaluations of the same questions, question by question."""

from dataclasses import dataclass
from typing import Any

from jobs.evaluation import results, summary
from jobs.evaluation.statistics import Difference, compare


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """B minus A: in the headlines, and in each measure that both have."""

    headline: Difference
    measures: dict[str, Difference]
    """With the headlines together, where questions have several."""
    names: tuple[str, str]
    """The models."""
    pairs: list[tuple[dict[str, Any], dict[str, Any]]]
    """The rows of both, those that differ most first."""


def compare_runs(first: str, second: str) -> Comparison:
    """The differences of two outputs.

    Raises ValueError: one is no evaluation, or of something else, or its headlines are of other measures.
    """
    a, b = summary.read(first), summary.read(second)
    if a["data"]["hash"] != b["data"]["hash"]:
        raise ValueError(
            f"{first} and {second} are no evaluations of the same questions ({a['data']['place']} and "
            f"{b['data']['place']}): only such can be compared"
        )
    rows = {row["id"]: row for row in results.read_scores(second)}
    pairs = [(row, rows[row["id"]]) for row in results.read_scores(first) if row["id"] in rows]
    if not pairs:  # a judge leaves out what it did not grade
        raise ValueError(f"{first} and {second} have no question that is scored in both")
    for a_row, b_row in pairs:
        if a_row["measure"] != b_row["measure"]:
            raise ValueError(
                f"{first} is scored by {a_row['measure']} and {second} by {b_row['measure']}: give one of "
                "them its command again with the other's --judge or --measure; no question is asked again"
            )
    names = {name: None for a_row, b_row in pairs for name in a_row["scores"] if name in b_row["scores"]}
    headline = _difference(pairs, None)
    several = {"headline": headline} if len({row["measure"] for row, _ in pairs}) > 1 else {}
    return Comparison(
        headline=headline,
        measures=several | {name: _difference(pairs, name) for name in names},
        names=(a["model"], b["model"]),
        pairs=sorted(pairs, key=lambda pair: -abs(pair[1]["score"] - pair[0]["score"])),
    )


def _difference(pairs: list[tuple[dict[str, Any], dict[str, Any]]], name: str | None) -> Difference:
    some = [pair for pair in pairs if name is None or all(name in row["scores"] for row in pair)]
    a, b = (
        [row["score"] if name is None else row["scores"][name] for row in side]
        for side in zip(*some, strict=True)
    )
    return compare(a, b, [row["document"] for row, _ in some])
