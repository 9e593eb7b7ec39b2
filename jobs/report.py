"""Print the results of a run: answers with page and confidence, pages that were transcribed as Markdown,
failures by reason, and the tables' paths. Of a target whose answers were merged, one answer a document is
printed, each field with the pages on which it was read, and the values in which those pages differ.

With --expected, each answer that the file knows is marked right or wrong, and the score is printed. A line of
the file is a JSON object: document (its name or the end of its path), page (null for any), question (or for a
target field, such as "total" or "items[0].amount") and answers, a list of those that are right. --html writes
OUT/report.html, which shows each answer beside its page; what a reviewer exports there is such a file.
--quality compares the last run with those before it.
"""

import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.evaluation.gold import Expected, Line, conflicts_of, counts_of, lines_of, load_expected
from jobs.quality.drift import Comparison, compare, drifts_of
from jobs.quality.measures import read_measures
from jobs.run.endings import code_of, sentence_of
from jobs.run.parser import Parser
from jobs.run.runner import summary
from jobs.run.terminal import say, say_error, shown, start_output
from pipeline.commit.manifest import read_begun, read_record
from pipeline.commit.tables import is_of_answers, merged_name, read_table
from pipeline.parse.markdown import page_markdown

MAX_ROWS = 500  # of answers that are printed; the tables hold all
MAX_PAGES = 20  # of Markdown that are printed
MARKDOWN_TABLE = "answers/markdown"
WIDTH = 140  # where the output is no terminal
COLUMNS = ["uri", "page_first", "page_last", "question", "answer", "confidence", "fields"]
MERGED_COLUMNS = [*COLUMNS, "source_key", "conflicts"]

Row = dict[str, Any]


def answers_table(lines: Sequence[Line], expected: Sequence[Expected]) -> Table:
    """The printed table. If answers are expected, a column marks each line as right or wrong."""
    names = short_names({row.uri for row in lines})
    table = Table(
        "document", "page", "question", "answer", "confidence", box=None, header_style="bold", pad_edge=False
    )
    table.columns[4].justify = "right"
    if expected:
        table.add_column("")
    for row in lines:
        pages = (
            str(row.page_first) if row.page_first == row.page_last else f"{row.page_first}-{row.page_last}"
        )
        cells = [names[row.uri], pages, row.what, row.answer, f"{row.confidence:.2f}"]
        marks = [entry for entry in expected if row.is_about(entry)]
        mark = Text()
        if marks:
            right = any(entry.accepts(row.answer) for entry in marks)
            mark = Text("right", "green") if right else _cell(f"wrong: {marks[0].answers[0]}", "red")
        table.add_row(*map(_cell, cells), *([mark] if expected else []))
    return table


def _cell(text: str, style: str = "") -> Text:
    return Text(shown(text), style)


def short_names(uris: set[str]) -> dict[str, str]:
    """Each document's name; with its folder where two have the same."""
    count = Counter(uri.rsplit("/", 1)[-1] for uri in uris)
    return {
        uri: name if count[name := uri.rsplit("/", 1)[-1]] == 1 else "/".join(uri.rsplit("/", 2)[-2:])
        for uri in uris
    }


def failures_table(failures: Sequence[Mapping[str, Any]]) -> Table:
    """Failures by stage and reason, most frequent first, each with an example."""
    table = Table("stage", "reason", "items", "for example", box=None, header_style="bold", pad_edge=False)
    count = Counter((row["stage"], row["reason"]) for row in failures)
    examples = {(row["stage"], row["reason"]): row["message"] for row in failures}
    for (stage, reason), items in count.most_common():
        table.add_row(*map(_cell, (stage, reason, f"{items:,}", examples[stage, reason])))
    return table


def print_report(console: Console, output: str, expected: Sequence[Expected]) -> None:
    """Prints answers, failures, summary and score. Raises ValueError if `output` holds no finished run."""
    record = read_record(output)
    root = output.rstrip("/")
    tables = [path for name, path in record["tables"].items() if is_of_answers(name)]
    merged = [path for name, path in record["tables"].items() if name.startswith("merged")]
    answers, in_windows = [], []
    for path in tables:
        if path != MARKDOWN_TABLE:
            printed, hidden = _rows(root, path, merged)
            answers.append(printed)
            in_windows += hidden
    failures = read_table(f"{root}/{record['tables']['failures']}", ["stage", "reason", "message"])
    lines = list(lines_of([row for rows in answers for row in rows]))
    if answers:
        console.print(answers_table(lines[:MAX_ROWS], expected))
    conflicts = list(conflicts_of([row for rows in answers for row in rows]))
    if len(lines) > MAX_ROWS:
        console.print(f"... and {len(lines) - MAX_ROWS:,} more")
    if MARKDOWN_TABLE in tables:
        _print_pages(console, read_table(f"{root}/{MARKDOWN_TABLE}", COLUMNS), record["config"]["model"])
    if conflicts:
        console.print("\nOther values on other pages", style="bold")
        console.print(answers_table(conflicts[:MAX_ROWS], []))
    if failures.num_rows:
        console.print("\nFailures", style="bold")
        console.print(failures_table(failures.to_pylist()))
    console.print(shown(f"\n{summary(record, output)}"), highlight=False, markup=False, soft_wrap=True)
    if expected:
        # Of a merged answer, an entry may mean the value of another window: on its own page it is looked up.
        beside = list(lines_of(in_windows))
        matches = [(entry, _about(entry, lines) or _about(entry, beside)) for entry in expected]
        right = sum(any(entry.accepts(row.answer) for row in rows) for entry, rows in matches)
        for entry, rows in matches:
            if not rows:
                what = f"{entry.document}: {entry.question or entry.field}"
                console.print(_cell(f"no answer to {what}", "red"), soft_wrap=True)
        share = f"{right} of {len(expected)} expected answers are right ({right / len(expected):.0%})"
        console.print(share, style="bold", highlight=False)
        fields = counts_of(matches)
        if fields.given or fields.wanted:
            shares = f"precision {fields.precision:.0%}, recall {fields.recall:.0%}, F1 {fields.f1:.0%}"
            console.print(f"fields: {shares}", highlight=False)


def _about(entry: Expected, lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line.is_about(entry)]


def _rows(root: str, path: str, merged: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """The rows to show of a table of answers, and those whose place a document's merged row has taken."""
    table = merged_name(path)
    if table not in merged:
        rows: list[Row] = read_table(f"{root}/{path}", COLUMNS).to_pylist()
        return rows, []
    whole = read_table(f"{root}/{table}", MERGED_COLUMNS)
    windows = read_table(f"{root}/{path}", [*COLUMNS, "source_key"])
    there = pc.is_in(windows["source_key"], value_set=whole["source_key"])
    shown = [*whole.to_pylist(), *windows.filter(pc.invert(there)).to_pylist()]
    return shown, windows.filter(there).to_pylist()


def _print_pages(console: Console, pages: pa.Table, model: str) -> None:
    """The first transcriptions, whole."""
    rows = pages.sort_by([("uri", "ascending"), ("page_first", "ascending")]).slice(0, MAX_PAGES).to_pylist()
    for row in rows:
        console.print(shown(page_markdown(row, model)), markup=False, highlight=False, soft_wrap=True)
    if len(pages) > MAX_PAGES:
        console.print(f"... and {len(pages) - MAX_PAGES:,} more pages")


def quality_table(comparisons: Sequence[Comparison]) -> Table:
    """Each measure of the newest run beside the runs before it; what drifts comes first."""
    names = ("", "of", "now", "before", "documents", "before", "p")
    table = Table(*names, box=None, header_style="bold", pad_edge=False)
    for one in sorted(comparisons, key=lambda one: not one.drifts):
        sizes = f"{one.documents:,}", f"{one.documents_before:,}"
        chance = "too few" if one.p is None else f"{one.p:.2g}"
        cells = one.measure.kind, one.measure.of, *one.written, *sizes, chance
        table.add_row(*(_cell(text, "red" if one.drifts else "") for text in cells))
    return table


def print_quality(console: Console, output: str) -> None:
    """Prints how the last run differs from those before. Raises ValueError if `output` holds no run."""
    record = read_begun(output)
    found = compare(read_measures(output, record["tables"]), record["run_id"])
    if not found:
        raise ValueError(f"{output} has no documents of its last run to compare with those of runs before")
    console.print(quality_table(found))
    drifts = drifts_of(found)
    for sentence in drifts:
        console.print(_cell(f"drift: {sentence}", "red"), soft_wrap=True)
    if not drifts:
        console.print("the last run is like those before it", highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the report; returns the exit code."""
    start_output(logging.WARNING)
    parser = Parser("report", description=__doc__)
    parser.add_argument("output", metavar="OUT", help="the run's --output")
    parser.add_argument("--expected", type=Path, metavar="FILE", help=".jsonl with the right answers")
    parser.add_argument("--html", action="store_true", help="write OUT/report.html, with the pages")
    parser.add_argument(
        "--quality",
        action="store_true",
        help="print how the last run differs from the runs before it instead",
    )
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    try:
        given = parser.parse_args(arguments)
        expected = load_expected(given.expected) if given.expected else []
        if given.html:
            from jobs.evaluation.report.runs import write_html  # draws pages, which takes a while

            say(write_html(given.output, expected), sys.stdout)
        elif given.quality:
            print_quality(console, given.output)
        else:
            print_report(console, given.output, expected)
    except ValueError as error:
        say_error(sentence_of(error))
        return code_of(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
