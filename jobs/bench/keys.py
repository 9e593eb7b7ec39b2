"""Prices keys and commits: what the driver does for each document besides having it answered.

No document is opened and no model is asked. A server of its own lists as many objects as are wanted, and the
tables hold a document and an answer each, in files as runs leave them. Each part is a process of its own,
whose peak of memory counts its libraries, too, and the listing that it looks up.
"""

import argparse
import tempfile
from contextlib import ExitStack
from typing import Any

from jobs.bench.flags import new_parser
from jobs.bench.keys_parts import measure, object_server
from jobs.bench.printing import print_json, print_table

COMMITTED = 100_000  # documents at most: a commit costs the same in a larger run
# In their order: what is measured, and (None) what it is measured on.
PARTS = {
    "list_objects": "listing a prefix on S3",
    "write_uris": None,
    "list_rows": "listing a Parquet column of URIs",
    "first_look": "first look, into empty tables",
    "begin": "the same, and the start of a run over all of them",
    "fill_to_90": None,
    "cut_at_90": "what is left of a run that was cut at 90%",
    "fill_the_rest": None,
    "nothing_to_do": "nothing to do",
    "growth_by_1": "what is left when 1% was added",
    "seed": "answers that new documents may share",
    "commit": "progress, writer and commits",
}


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("keys", __doc__)
    parser.add_argument("--documents", type=int, default=100_000, help="synthetic ones, with an answer each")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for each part of the work."""
    rows = price(arguments.documents)
    title = f"keys and commits of {arguments.documents:,} documents on a local disk"
    print_table(title, rows, left=("part",))
    print_json("keys", rows, documents=arguments.documents)


def price(documents: int) -> list[dict[str, Any]]:
    """Seconds, milliseconds a document and the peak of memory of each part."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for part, title in PARTS.items():
            count = min(documents, COMMITTED) if part == "commit" else documents
            with ExitStack() as stack:
                served = part == "list_objects"
                environment = stack.enter_context(object_server(count)) if served else {}
                found = measure(part, folder, count, environment)
            if title:
                ms = round(1e3 * found["seconds"] / count, 4)
                seconds = round(found["seconds"], 2)
                rows.append(
                    {
                        "part": title,
                        "documents": count,
                        "seconds": seconds,
                        "ms_a_document": ms,
                        "peak_MiB": found["peak_MiB"],
                    }
                )
    return rows
