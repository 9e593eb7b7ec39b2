"""What an evaluation prints: its scores with their intervals, and what they are not comparable with."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.evaluation.comparing import Comparison
from jobs.run.terminal import say

WIDTH = 140  # where the output is no terminal


def print_summary(output: str, summary: dict[str, Any]) -> None:
    """The measures, the failures, the calibration in a line, and where the rest lies."""
    table = Table(
        "measure", "score", "95% interval", "questions", box=None, header_style="bold", pad_edge=False
    )
    for name, one in summary["measures"].items():
        table.add_row(name, f"{one['mean']:.1%}", f"{one['low']:.1%} to {one['high']:.1%}", f"{one['n']:,}")
    _console().print(table)
    if note := summary["data"]["note"]:
        say(f"not comparable with published figures: {note}", sys.stdout)
    for reason, count in summary["failures"].items():
        say(f"{count:,} without an answer, counted as wrong: {reason}", sys.stdout)
    judge = summary["judge"]
    for reason, count in judge["ungraded"].items() if judge else ():
        say(f"{count:,} not graded, and left out: {reason} (the same command asks again)", sys.stdout)
    if found := summary["calibration"]:
        say(
            f"{found['error']:.1%} wrong; {found['error_after_review']:.1%} if a person sees the least "
            f"confident {found['reviewed']:.0%}; calibration error {found['expected_error']:.3f}",
            sys.stdout,
        )
    for name in ("scores", "summary.json", "report.html"):
        say(f"{name:<12} {output.rstrip('/')}/{name}", sys.stdout)


def print_comparison(first: str, second: str, found: Comparison) -> None:
    """The differences, and what could have been seen."""
    table = Table(
        "measure", "B - A", "95% interval", "p", "visible from", box=None, header_style="bold", pad_edge=False
    )
    for name, one in found.measures.items():
        interval = f"{one.low:+.1%} to {one.high:+.1%}"
        table.add_row(name, f"{one.mean:+.1%}", interval, f"{one.p:.4f}", f"{one.visible:.1%}")
    _console().print(table)
    one = found.headline
    better = f"B ({second}) is better in {one.better:,} and worse in {one.worse:,} than A ({first})"
    say(f"of {one.n:,} questions, {better}", sys.stdout)
    say(one.verdict, sys.stdout)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)
