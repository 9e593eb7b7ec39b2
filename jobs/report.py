"""Print the results of a run: answers with page and confidence, pages that were transcribed as Markdown,
failures by reason, and the tables' paths.

With --expected, each answer that the file knows is marked right or wrong, and the score is printed. A line of
the file is a JSON object: document (its name or the end of its path), page (null for any), question (or for a
target field, such as "total" or "items[0].amount") and answers, a list of those that are right.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.evaluation.scorers.texts import exact_match
from jobs.extract import Parser
from jobs.run.runner import summary
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import read_table
from pipeline.parse.markdown import page_markdown

MAX_ROWS = 500  # of answers that are printed; the tables hold all
MAX_PAGES = 20  # of Markdown that are printed
MARKDOWN_TABLE = "answers/markdown"
WIDTH = 140  # where the output is no terminal
COLUMNS = ["uri", "page_first", "page_last", "question", "answer", "confidence", "fields"]


class Expected(BaseModel):
    """One line of the --expected file."""

    model_config = ConfigDict(extra="forbid")

    document: str = Field(min_length=1)
    page: int | None = None
    question: str | None = None
    field: str | None = None
    answers: list[str] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the printed table: a free answer, or one field of a target's answer."""

    uri: str
    page_first: int
    page_last: int
    what: str
    answer: str
    confidence: float

    def is_about(self, expected: Expected) -> bool:
        """Whether `expected` holds the right answers to this line."""
        return (
            f"/{self.uri}".endswith(f"/{expected.document}")
            and (expected.page is None or self.page_first <= expected.page <= self.page_last)
            and self.what == (expected.field or expected.question)
        )


def is_right(answer: str, accepted: Sequence[str]) -> bool:
    """Whether an answer is accepted: case and white space do not count, numbers are compared as numbers."""
    said = as_number(answer)
    return exact_match(answer, accepted) == 1.0 or (
        said is not None and said in [as_number(text) for text in accepted]
    )


def as_number(text: str) -> Decimal | None:
    """The number that a text is, commas between thousands left out; None if it is none."""
    try:
        number = Decimal(re.sub(r"(?<=\d),(?=\d{3})", "", text.strip()))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def load_expected(path: Path) -> list[Expected]:
    """The lines of an --expected file. Raises ValueError with the number of the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--expected {path} cannot be read: {error}") from error
    expected = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = Expected.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"--expected {path}, line {number}: {where} {first['msg']}") from error
        if (entry.question is None) == (entry.field is None):
            raise ValueError(f"--expected {path}, line {number}: give question or field, one of the two")
        expected.append(entry)
    if not expected:
        raise ValueError(f"--expected {path} is empty")
    return expected


def lines_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """The lines to print of an answers table's rows, by document and page."""
    for row in sorted(rows, key=lambda row: (row["uri"], row["page_first"])):
        where = {name: row[name] for name in ("uri", "page_first", "page_last")}
        if isinstance(row["answer"], str):
            yield Line(**where, what=row["question"], answer=row["answer"], confidence=row["confidence"])
            continue
        for field in row["fields"]:
            value = _at(row["answer"], field["path"])
            yield Line(**where, what=field["path"], answer=_text(value), confidence=field["confidence"])


def _at(value: Any, path: str) -> Any:
    """The value at a path such as items[0].amount in nested dicts and lists."""
    for part in re.findall(r"[^.\[\]]+", path):
        if value is None:
            return None
        value = value[int(part)] if isinstance(value, list) else value.get(part)
    return value


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool | list | dict):  # an empty list or object is a leaf, too
        return json.dumps(value)
    return str(value)


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
            accepted = [text for entry in marks for text in entry.answers]
            right = is_right(row.answer, accepted)
            mark = Text("right", "green") if right else Text(f"wrong: {accepted[0]}", "red")
        table.add_row(*map(Text, cells), *([mark] if expected else []))
    return table


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
        table.add_row(stage, reason, f"{items:,}", Text(examples[stage, reason]))
    return table


def print_report(console: Console, output: str, expected: Sequence[Expected]) -> None:
    """Prints answers, failures, summary and score. Raises ValueError if `output` holds no finished run."""
    record = read_record(output)
    root = output.rstrip("/")
    tables = [path for name, path in record["tables"].items() if name not in ("failures", "documents")]
    answers = [read_table(f"{root}/{path}", COLUMNS).to_pylist() for path in tables if path != MARKDOWN_TABLE]
    failures = read_table(f"{root}/{record['tables']['failures']}", ["stage", "reason", "message"])
    lines = list(lines_of([row for rows in answers for row in rows]))
    if answers:
        console.print(answers_table(lines[:MAX_ROWS], expected))
    if len(lines) > MAX_ROWS:
        console.print(f"... and {len(lines) - MAX_ROWS:,} more")
    if MARKDOWN_TABLE in tables:
        _print_pages(console, read_table(f"{root}/{MARKDOWN_TABLE}", COLUMNS), record["config"]["model"])
    if failures.num_rows:
        console.print("\nFailures", style="bold")
        console.print(failures_table(failures.to_pylist()))
    console.print(f"\n{summary(record, output)}", highlight=False, soft_wrap=True)
    if expected:
        matches = [(entry, [row for row in lines if row.is_about(entry)]) for entry in expected]
        right = sum(any(is_right(row.answer, entry.answers) for row in rows) for entry, rows in matches)
        for entry, rows in matches:
            if not rows:
                what = f"{entry.document}: {entry.question or entry.field}"
                console.print(f"no answer to {what}", style="red", highlight=False, soft_wrap=True)
        share = f"{right} of {len(expected)} expected answers are right ({right / len(expected):.0%})"
        console.print(share, style="bold", highlight=False)


def _print_pages(console: Console, pages: pa.Table, model: str) -> None:
    """The first transcriptions, whole."""
    rows = pages.sort_by([("uri", "ascending"), ("page_first", "ascending")]).slice(0, MAX_PAGES).to_pylist()
    for row in rows:
        console.print(page_markdown(row, model), markup=False, highlight=False, soft_wrap=True)
    if len(pages) > MAX_PAGES:
        console.print(f"... and {len(pages) - MAX_PAGES:,} more pages")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the report; returns the exit code."""
    parser = Parser(
        prog="python -m jobs.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("output", metavar="OUT", help="the run's --output")
    parser.add_argument("--expected", type=Path, metavar="FILE", help=".jsonl with the right answers")
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    try:
        given = parser.parse_args(arguments)
        expected = load_expected(given.expected) if given.expected else []
        print_report(console, given.output, expected)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
