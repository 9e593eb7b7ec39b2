"""Ask a pile of documents, and write typed rows to Arrow tables.

Reads PDFs, images, e-mails and office files, asks Pixtral questions about their pages or has it fill in a
target, and writes the answers as Delta tables (Parquet files with a commit log) under --output.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from jobs.run.config_of_flags import add_upkeep, config_of
from jobs.run.dry_run import add_dry_run, dry_run, is_wanted
from jobs.run.model_flags import add_model_flags
from jobs.run.parser import Parser
from jobs.run.run_rules import RunRules, add_run_rules, rules_of, run_job
from jobs.run.signals import sigterm_stops
from jobs.run.terminal import say
from jobs.run.web_flags import add_web_flags
from pipeline.ingest.outages import is_outage
from pipeline.plan.limits import CONVERSATION_IMAGES, MIB, Limits

if TYPE_CHECKING:
    from jobs.run.result import Result

EPILOG = """\
examples:
  # two questions about every page of every document in a folder
  python -m jobs.extract --input samples/documents --output out/first \\
    --question "What is the total?" --question "What is the date?"

  # the fields of an invoice out of every document, with the real model
  python -m jobs.extract --input "scans/**/*.pdf" --output out/invoices \\
    --target Invoice --model ~/models/Pixtral-12B-2409

  # questions and targets in one pass: each page is drawn and read once
  python -m jobs.extract --input scans --output out/all \\
    --question "Is this paid?" --target Invoice --target Receipt

  # the pages themselves, as Markdown
  python -m jobs.extract --input scans --output out/markdown --target markdown

  # a target of your own: a pydantic model, here the class Contract in contracts.py
  python -m jobs.extract --input s3://bucket/contracts --output s3://bucket/answers \\
    --target contracts:Contract

  # the same in a JSON Schema
  python -m jobs.extract --input "contracts/*.pdf" --output out/contracts \\
    --target samples/contract.json

  # documents that lie as bytes, URIs, or lists of images in a column of a Parquet dataset
  python -m jobs.extract --input data/scans.parquet --column image --id-column id \\
    --questions questions.jsonl --output out/scans

  # conversations in a column of a Parquet dataset, each of which is answered
  python -m jobs.extract --input data/chats.parquet --messages-column messages --id-column id \\
    --output out/chats

  # on a running cluster
  ray job submit --working-dir . -- python -m jobs.extract --input ... --output ...

output:
  OUT/answers/text/             a row for each answered question: answer, confidence, pages, raw text
  OUT/answers/markdown/         the same for --target markdown; `answer` is the Markdown of a page
  OUT/answers/<target>-<hash>/  the same for a target; `answer` is a struct of the target's own fields
  OUT/merged/<target>-<hash>/   a row for each document: the target's answers about its windows, merged
  OUT/failures/                 a row for each item without an answer: stage, reason, message
  OUT/documents/                a row for each document: pages, items expected, answered and failed
  OUT/run.json                  counts (answered + failed = expected, shared), timings, versions; whole once
                                it has finished_at

  python -m jobs.report OUT     prints them
  in Python, for pyarrow, pandas (rows.to_pandas()) and DuckDB (duckdb.sql("SELECT * FROM rows")):
    import pyarrow
    from deltalake import DeltaTable, QueryBuilder

    answers = QueryBuilder().register("answers", DeltaTable("OUT/answers/text"))
    rows = pyarrow.table(answers.execute("SELECT uri, question, answer, confidence FROM answers"))

identical documents and pages:
  One of them is asked, in this run or in one before it. The others have rows of their own with the same
  answer, and `shared_from` names the item that was asked.

the same output again:
  A document is done once all of its items are. The same command continues a run that was cut, and asks the
  documents that are new or have changed since. Items are asked again if their question has other words, or if
  the model, the resolution or the limit of tokens is another one; each new row replaces the old one as it
  comes. Answers to questions that are not asked any more stay, and so do answers about files that are gone.
  A failed item counts as done: python -m jobs.retry OUT asks it again.

  One run at a time writes to an output; a second one is refused. Ctrl-C finishes what runs, commits and ends;
  a second Ctrl-C, or SIGTERM (ray job stop), commits what has arrived and ends.

exit code:
  0  the run is complete, though single items may have failed: see OUT/failures; or --max-hours are over
  1  the run broke off, or a bucket, a catalog or the hub failed when it began; the same command continues it
     (130: by Ctrl-C or SIGTERM)
  2  a mistake in the command, or in an input or a model that it names; nothing was started
  3  the run has ended, and more documents failed than --fail-above allows
"""


def make_parser() -> Parser:
    """All flags of the job."""
    parser = Parser(
        "extract",
        usage="%(prog)s --input PATH --output OUT "
        "[--question TEXT | --questions FILE] [--target NAME] [--messages-column NAME] [options]",
        description=__doc__,
        epilog=EPILOG,
    )
    add = parser.add_argument_group("documents").add_argument
    add(
        "--input",
        dest="inputs",
        nargs="+",
        action="extend",
        metavar="PATH",
        required=True,
        help="file, folder (with those below it), glob, s3://bucket/prefix, gs://bucket/prefix, "
        "az://container/prefix, Parquet, or a Delta or Iceberg table (its folder or "
        "iceberg://CATALOG/NAMESPACE.TABLE; @VERSION behind it); several are fine. "
        "PDF, PNG, JPEG, TIFF (each frame is a page), WebP, BMP, GIF, JPEG 2000, HEIC, AVIF; e-mails (.eml) "
        "with what is attached to them; office files and HTML where LibreOffice is installed",
    )
    add(
        "--messages-column",
        metavar="NAME",
        help="the inputs are Parquet, and this column holds conversations in OpenAI's form, as lists of "
        "messages or as JSON; each row is answered",
    )
    add(
        "--column",
        metavar="NAME",
        help="the inputs are Parquet, and this column holds the documents: bytes, URIs, structs of bytes and "
        "a path, or lists of these, a page each (default: of Parquet alone, the one that can only be it)",
    )
    add(
        "--id-column",
        metavar="NAME",
        help="column that names the rows of a Parquet input (default: file and row number)",
    )
    add(
        "--attachments",
        action="store_true",
        help="read what is attached to PDFs (portfolios), and to e-mails in a column of bytes, as documents "
        "of their own, too; each document is read once more when it is listed",
    )
    add(
        "--since-last-run",
        action="store_true",
        help="of Delta and Iceberg tables, only the rows that came since the last run into OUT that finished "
        "and asked the same",
    )
    add(
        "--allow-root",
        dest="allow_roots",
        action="append",
        default=[],
        metavar="DIR",
        help="folder or prefix in a cloud in which rows of a Parquet input may name documents, beside the "
        "inputs' own folders and buckets; repeat it for several",
    )
    add_web_flags(add, "what rows of a Parquet input name")
    add(
        "--password",
        dest="passwords",
        action="append",
        default=[],
        metavar="TEXT",
        help="tried on documents that need one; repeat it for several. Other users of this machine can read "
        "it in the list of processes; --password-column keeps passwords out of it",
    )
    add("--password-column", metavar="NAME", help="column of a Parquet input with each document's password")
    add(
        "--output",
        metavar="OUT",
        required=True,
        help="folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix for the tables. Where "
        "a run was cut, or has ended, the same "
        "command does what is left or new; see below",
    )

    limits = Limits()
    add = parser.add_argument_group("limits, beyond which a document or a page is a failure").add_argument
    add(
        "--page-timeout",
        type=float,
        default=limits.page_seconds,
        metavar="SECONDS",
        help="seconds of computing to open a document, and to draw each page (default: %(default)g)",
    )
    add(
        "--page-memory",
        type=int,
        default=limits.page_bytes // MIB,
        metavar="MIB",
        help="memory to open a document and to draw a page, beside the file itself (default: %(default)s)",
    )
    add(
        "--document-pages",
        type=int,
        default=limits.document_pages,
        metavar="N",
        help="most pages of a document (default: %(default)s)",
    )
    add(
        "--document-timeout",
        type=float,
        default=limits.document_seconds,
        metavar="SECONDS",
        help="seconds of computing to draw all pages of a document together (default: %(default)g)",
    )
    add(
        "--limit-images",
        type=int,
        metavar="N",
        help=f"most images of a question: of a conversation (default: {CONVERSATION_IMAGES}), or pages of a "
        "window",
    )
    add(
        "--require-sandbox",
        action="store_true",
        help="refuse machines that lack a part of the sandbox (default: said once, the other parts are used)",
    )

    add = parser.add_argument_group("what to ask: questions, targets, or both in one pass").add_argument
    add("--question", dest="texts", action="append", default=[], metavar="TEXT", help="repeat it for several")
    add(
        "--questions",
        dest="file",
        type=Path,
        metavar="FILE",
        help=".txt with one question a line, or .jsonl with one object a line: text, and optionally id, "
        'documents (a glob such as "*.pdf") and pages (a list of numbers)',
    )
    add(
        "--target",
        dest="targets",
        action="append",
        default=[],
        metavar="NAME",
        help="Invoice, Receipt, module:Class of a pydantic model of your own, or FILE.json, a JSON Schema; "
        "or markdown: each page as Markdown; repeat it for several",
    )
    add(
        "--keep-headers",
        action="store_true",
        help="--target markdown writes headers, footers and numbers of pages, too",
    )
    add(
        "--style",
        choices=["short", "free"],
        default="short",
        help="short: questions are answered with a single word or phrase; free: as the question itself says "
        "(default: %(default)s)",
    )
    add("--system", metavar="TEXT", help="system prompt of everything that is asked")
    add(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="the answer to a question ends before this text; repeat it for several",
    )
    add(
        "--scope",
        choices=["page", "document"],
        help="ask every page by itself, or windows of pages together (default: page for questions, "
        "document for a target)",
    )
    add(
        "--merge",
        action=argparse.BooleanOptionalAction,
        help="merge a target's answers about the windows of a document into one row of "
        "merged/<target>-<hash> (default: for a target at scope document)",
    )
    add(
        "--pages",
        default="1-",
        metavar="RANGE",
        help="the pages of each document that are read: 3, 2-5, or 2- to the end (default: all)",
    )
    add(
        "--max-pages",
        type=int,
        default=4,
        metavar="N",
        help="pages in a window of scope document (default: %(default)s)",
    )

    add_model_flags(parser)
    add_upkeep(parser)
    add_dry_run(parser)
    add_run_rules(parser)
    parser.take_config_file()
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    return run_job(make_parser(), arguments, _extract, tells_drift=True)


def _extract(given: argparse.Namespace, rules: RunRules) -> int:
    if is_wanted(given):
        return dry_run(config_of(given), given)
    # Only here, so that --help and a mistyped flag answer at once: this imports torch,
    from pipeline.prepare import prepare

    with prepare(config_of(given), say=say) as prepared:
        # and this, once no mistake was found, Ray.
        from jobs.run.runner import carry_out

        return carry_out(prepared, rules)


def extract(input: object, /, **flags: object) -> "Result":
    """Runs the job from Python; returns its tables. Prints what the command prints while it runs.

    `input` is a file, folder, glob or address, or a list of such. The keywords are the flags of the command,
    `--max-pages 2` as max_pages=2: a list for one that may be repeated, True for one without a value. A
    target may be a class. Raises ValueError for what would be exit code 2, `jobs.run.runner.BrokenOffError`
    for 1, `ManyFailuresError` of the same module for 3 and KeyboardInterrupt for 130.
    """
    from jobs.run.keywords import arguments_of

    for name in ("help", "print_config"):
        if flags.get(name):
            raise ValueError(f"--{name.replace('_', '-')} prints and ends: run it as a command")
    if current_thread() is not main_thread():
        raise ValueError("extract() handles signals, which only the main thread can: call it from there")
    parser = make_parser()
    given = parser.parse_args(arguments_of(parser, {"input": input, **flags}))
    rules = rules_of(given, tells_drift=True)
    if is_wanted(given):
        raise ValueError("--dry-run prints an estimate and answers nothing: run it as a command")
    from pipeline.prepare import prepare

    try:
        with sigterm_stops(), prepare(config_of(given), say=say) as prepared:
            from jobs.run.result import Result
            from jobs.run.runner import run_told

            return Result(given.output, run_told(prepared, "the same call", rules))
    except ValueError as error:
        if not is_outage(error):
            raise
        from jobs.run.runner import BrokenOffError

        raise BrokenOffError(f"broken off: {error}; the same call continues") from error


if __name__ == "__main__":
    sys.exit(main())
