"""The three kinds of report: of an evaluation, of a comparison, of a run of jobs.extract."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jobs.evaluation.comparing import Comparison
from jobs.evaluation.questions import NAME as QUESTIONS
from jobs.evaluation.report import html
from jobs.evaluation.report.items import Item, of_pairs, of_scores
from jobs.evaluation.report.pictures import draw
from pipeline.ingest.storage import absolute


def write_evaluation(output: str, summary: dict[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Writes OUT/report.html; returns its path."""
    data = summary["data"]
    return html.write(
        output,
        "report.html",
        title=f"{data['name']}: {summary['measures'][_headline(summary)]['mean']:.1%}",
        summary=summary,
        items=list(of_scores(rows)),
        pictures=draw(_images(output, rows)),
        about=[
            ("model", _name(summary["model"])),
            ("model key", summary["model_key"][:12]),
            ("data", f"{data['place']} ({data['hash'][:12]})"),
            ("headline", summary["headline"]),
            ("finished", summary["finished_at"][:16].replace("T", " ")),
            ("run", summary["run_id"]),
        ],
    )


def write_comparison(first: str, second: str, found: Comparison) -> str:
    """Writes B/compare.html; returns its path."""
    one = found.headline
    return html.write(
        second,
        "compare.html",
        title=f"B against A: {one.mean:+.1%}",
        summary=None,
        differences=found.measures,
        items=list(of_pairs(found.pairs)),
        pictures=draw(_images(second, [row for _, row in found.pairs])),
        about=[
            ("A", f"{first}: {_name(found.names[0])}"),
            ("B", f"{second}: {_name(found.names[1])}"),
            ("B is better in", f"{one.better:,} of {one.n:,} questions, worse in {one.worse:,}"),
            ("paired test", one.verdict),
        ],
    )


def write_run(
    output: str, record: dict[str, Any], items: Sequence[Item], pages: Iterable[tuple[str, str, int]]
) -> str:
    """Writes OUT/report.html of a run of jobs.extract; `pages` are (key, uri, page). Returns its path."""
    counts = record["counts"]
    return html.write(
        output,
        "report.html",
        title=f"{counts['answered']:,} answers about {counts['documents']:,} documents",
        summary=None,
        items=items,
        pictures=draw(pages),
        about=[
            ("output", output),
            ("model", _name(record["config"]["model"])),
            ("failed", f"{counts['failed']:,} of {counts['expected']:,} items"),
            ("finished", record["finished_at"][:16].replace("T", " ")),
            ("run", record["run_id"]),
        ],
    )


def _name(model: str) -> str:
    """The last part of a checkpoint's folder: a report may travel, and the folder is of no use there."""
    return model.rstrip("/").rpartition("/")[2]


def _headline(summary: dict[str, Any]) -> str:
    return "headline" if "headline" in summary["measures"] else str(summary["headline"])


def _images(output: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, int]]:
    """Each image of the questions once."""
    folder = f"{absolute(output).rstrip('/')}/{QUESTIONS}"
    for name in dict.fromkeys(name for row in rows for name in row["images"] or ()):
        yield name, f"{folder}/{name}", 1
