"""Draws PDF pages on one core: through the sandbox, with plain PyMuPDF, and with pypdfium2.

The three take turns document by document. Two of them go on to the model's pixels: Quire's own way there, and
pypdfium2 with mistral_common's preprocessing. Needs the [test] extra.
"""

import argparse
import platform
from pathlib import Path

from jobs.bench.flags import new_parser
from jobs.bench.printing import print_json, print_table

PATCH_SIZE = 16  # of Pixtral


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("pages", __doc__)
    parser.add_argument("--folder", type=Path, default=Path("samples/documents"), help="its PDFs are drawn")
    parser.add_argument("--max-side", type=int, default=1024, help="longest edge of the pages in pixels")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds, after one that warms up")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for each rasterizer."""
    from jobs.bench.rasterizers import compare  # needs packages that only the [test] extra brings

    if arguments.repeats < 1:
        raise ValueError(f"--repeats {arguments.repeats}: it must be at least 1")
    files = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
    documents, pages, rows = compare(
        files, max_side=arguments.max_side, patch_size=PATCH_SIZE, repeats=arguments.repeats
    )
    machine = f"{platform.machine()}, one core"
    print_table(
        f"{pages} pages of {documents} PDFs in {arguments.folder} on {machine}",
        rows,
        left=("contender", "compared_with"),
    )
    print_json("pages", rows, machine=machine, documents=documents, pages=pages)
