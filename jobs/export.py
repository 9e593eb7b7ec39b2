"""Write the results of a run as plain files: Markdown, JSON lines, CSV or Parquet.

Markdown is for transcriptions (--target markdown): one file a document, its pages in their order. The other
formats write one file for each table of the last run. Rows are streamed, and come in no particular order.
"""

import logging
import sqlite3
import sys
from collections.abc import Sequence

import pyarrow.compute as pc

from jobs.exports.destination import Destination
from jobs.exports.documents import MISSING_COLUMNS, PAGE_COLUMNS, write_documents
from jobs.exports.flat import FORMATS, flattened, write_spreadsheet
from jobs.run.endings import code_of, sentence_of
from jobs.run.parser import Parser
from jobs.run.terminal import say, say_error, start_output
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import OutputError, stream_table

MARKDOWN = "markdown"
EPILOG = """\
examples:
  # a file a document, from a run with --target markdown
  python -m jobs.export out/pages --format markdown

  # a file for each table: answers/text.csv, failures.csv, documents.csv
  python -m jobs.export out/totals --format csv --to totals

  # the same for Excel; and Parquet with the same columns
  python -m jobs.export out/totals --format csv --spreadsheet --to excel
  python -m jobs.export out/totals --format parquet --flat --to flat

rules:
  markdown  a head in YAML has the document, the model, and the confidence of each page; pages that failed are
            in pages_missing. Where several documents have the same name, each has a part of its key in it.
  jsonl     an object a line, nested as the row is; decimals are numbers, dates and times ISO 8601
  csv       always flat; null is an empty cell, an empty text is ""; UTF-8, decimals digit by digit
  parquet   the rows as they are, in one file
  flat      a struct becomes a column for each of its fields (answer.total), all of them null where it is; a
            list becomes its JSON; two columns of one name are refused
"""


def make_parser() -> Parser:
    """All flags of the job."""
    parser = Parser("export", description=__doc__, epilog=EPILOG)
    parser.add_argument("output", metavar="OUT", help="the run's --output")
    parser.add_argument("--format", choices=[MARKDOWN, *FORMATS], required=True, help="of the files")
    parser.add_argument(
        "--to", metavar="DIR", help="folder or prefix in a cloud for the files (default: OUT/export)"
    )
    parser.add_argument(
        "--flat",
        action="store_true",
        help="jsonl and parquet have the columns of csv: one for each field, lists as JSON",
    )
    parser.add_argument(
        "--spreadsheet",
        action="store_true",
        help="csv for Excel and the like: a byte order mark, and a ' before texts that begin as formulas do",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into a folder that is not empty, over files of the same names",
    )
    return parser


def export(
    output: str,
    *,
    format: str,
    to: str | None = None,
    flat: bool = False,
    spreadsheet: bool = False,
    force: bool = False,
) -> list[str]:
    """Writes the files, under OUT/export unless `to` says where; returns what was written, a line each.

    Raises ValueError, in one sentence.
    """
    if spreadsheet and format != "csv":
        raise ValueError(f"--spreadsheet is about --format csv: leave it out with {format}")
    if flat and format == MARKDOWN:
        raise ValueError("--flat is about rows, and --format markdown has none: leave it out")
    root = output.rstrip("/")
    record = read_record(root)
    tables: dict[str, str] = record["tables"]
    if format == MARKDOWN and f"answers/{MARKDOWN}" not in tables.values():
        raise ValueError(
            f"{root} holds no transcriptions: ask for them with --target markdown, or choose another --format"
        )
    destination = Destination(to or f"{root}/export", force=force)
    try:
        if format == MARKDOWN:
            _, pages = stream_table(f"{root}/answers/{MARKDOWN}", PAGE_COLUMNS)
            _, failures = stream_table(f"{root}/{tables['failures']}", MISSING_COLUMNS)
            failed = (batch.filter(pc.equal(batch["target"], MARKDOWN)) for batch in failures)
            files = write_documents(pages, failed, record["config"]["model"], destination)
            return [f"{files:,} documents: {destination.name('')}"]
        write = write_spreadsheet if spreadsheet else FORMATS[format]
        said = []
        for path in tables.values():
            schema, batches = stream_table(f"{root}/{path}")
            if flat:
                schema, batches = flattened(schema, batches)
            name = f"{path}.{format}"
            with destination.open(name) as stream:
                rows = write(schema, batches, stream)
            said.append(f"{rows:,} rows: {destination.name(name)}")
        return said
    except (OutputError, sqlite3.Error) as error:
        raise ValueError(f"{root} cannot be exported: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the files; returns the exit code."""
    start_output(logging.WARNING)
    try:
        given = make_parser().parse_args(arguments)
        written = export(
            given.output,
            format=given.format,
            to=given.to,
            flat=given.flat,
            spreadsheet=given.spreadsheet,
            force=given.force,
        )
        say("\n".join(written), sys.stdout)
    except ValueError as error:
        say_error(sentence_of(error))
        return code_of(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
