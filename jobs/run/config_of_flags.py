"""The flags of `jobs.extract`, parsed, in; the FlowConfig that they mean out. And some flags themselves."""

import argparse
from typing import TYPE_CHECKING

from jobs.run import dry_run
from jobs.run.run_rules import RUN_FLAGS
from pipeline.plan.limits import MIB, Limits

if TYPE_CHECKING:
    from pipeline.config import FlowConfig


def add_upkeep(parser: argparse.ArgumentParser) -> None:
    """Flags about the shape of the tables."""
    parser.add_argument_group("tables").add_argument(
        "--maintain-every",
        type=int,
        metavar="N",
        help="merge the small files of the tables after each N commits, which come each 30 s or 5,000 rows "
        "(default: never; python -m jobs.maintain OUT does it, and more, between runs)",
    )


def config_of(given: argparse.Namespace) -> "FlowConfig":
    """The flags as a FlowConfig. Raises ValueError."""
    from pydantic import ValidationError

    from pipeline.config import FlowConfig
    from pipeline.plan.plan import parse_pages
    from schemas.targets import Question, load_questions, target_text

    options = {name: value for name, value in vars(given).items() if name not in (*RUN_FLAGS, *dry_run.FLAGS)}
    texts, file = options.pop("texts"), options.pop("file")
    if texts and file:
        raise ValueError("give questions with --question or in a file with --questions, not both")
    try:
        questions = load_questions(file) if file else [Question(text=text) for text in texts]
    except ValidationError as error:
        raise ValueError(f"--question {error.errors()[0]['input']!r}: a question needs words") from error
    limits = Limits(
        page_seconds=options.pop("page_timeout"),
        page_bytes=options.pop("page_memory") * MIB,
        document_pages=options.pop("document_pages"),
        document_seconds=options.pop("document_timeout"),
        images=options.pop("limit_images"),
        sandbox_required=options.pop("require_sandbox"),
    )
    names = ("inputs", "passwords", "stop", "allow_roots", "allow_hosts")
    lists = {name: tuple(options[name]) for name in names}
    options["pages"] = parse_pages(given.pages)
    lists["targets"] = tuple(map(target_text, given.targets))
    return FlowConfig(**options | lists, limits=limits, questions=tuple(questions))
