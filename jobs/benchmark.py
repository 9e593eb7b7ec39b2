"""Measure Quire on this machine.

Each command prints a table for people and, as its last line, JSON for scripts.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from jobs.run.terminal import say_error, start_output
from pipeline.extras import missing

# Each command is a file in jobs/bench, which is imported for its own command only.
COMMANDS = {
    "engine": "pages a second of the batch engine on four workloads",
    "parallel": "one model over several GPUs, and several copies of it, against one GPU",
    "sums": "how long the GPUs that share a model take for the sums of a layer, each way",
    "job": "pages a second of the whole job, against the engine alone",
    "serve": "requests a second of the server, against its engine alone; needs the [serve] extra",
    "precision": "answers that FP8 changes (GPU)",
    "page": "seconds a page of each engine, and of transformers; needs the [test] extra",
    "pages": "pages a second of the sandbox, PyMuPDF and pypdfium2; needs the [test] extra",
    "keys": "the price of keys and commits",
    "documents": "documents a second of whole runs whose engine answers at once",
    "shapes": "memory of an engine on CPUs over pages of many shapes",
    "memory": "what a run holds in memory, over more and more pages",
    "reading": "right answers about held-out synthetic documents; needs the [train] extra",
}

EXTRAS = {"reading": "train", "serve": "serve"}


def make_parser() -> argparse.ArgumentParser:
    """The list of commands; the flags of each are its own file's."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.benchmark",
        description=__doc__,
        epilog="python -m jobs.benchmark COMMAND --help explains a command and its flags.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about in COMMANDS.items():
        commands.add_parser(name, help=about, add_help=False)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one benchmark; returns the exit code."""
    start_output(logging.WARNING)
    given = sys.argv[1:] if arguments is None else arguments
    name = given[0] if given else ""
    if name not in COMMANDS:
        name = make_parser().parse_args(given).command  # prints the list or the mistake, and exits
    command = import_module(f"jobs.bench.{name}")
    try:
        chosen: argparse.Namespace = command.make_parser().parse_args(given[1:])
        if "model" in chosen:
            chosen.model = _checkpoint(chosen.model)
        command.run(chosen)
    except (ValueError, OSError) as error:
        say_error(f"jobs.benchmark: {error}")
    except ModuleNotFoundError as error:
        say_error(f"jobs.benchmark: {missing(error, EXTRAS.get(name, 'test'))}")
    else:
        return 0
    return 2


def _checkpoint(given: str) -> Path:
    """The folder of the model, which is fetched if it is named on the hub. Raises ValueError."""
    from jobs.run.model_fetch import fetch
    from model import hub

    return fetch(hub.find(given)) if hub.is_hub_name(given) else Path(given).expanduser()


if __name__ == "__main__":
    raise SystemExit(main())
