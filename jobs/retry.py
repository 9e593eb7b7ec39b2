"""Ask a run's failed items again: all of them, or those of some causes, with other limits if given.

Reads the run's questions, inputs and model from OUT/run.json, and asks the failed items again under exactly
these settings, so that their keys stay. The new answers and failures replace the old failures as they come,
and the rows of documents/ change with them. A document that could not be opened is opened again, and all of
its items are asked.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from jobs.run.notify import tell
from jobs.run.parser import Parser
from jobs.run.run_rules import RunRules, add_run_rules, run_job
from jobs.run.terminal import say
from pipeline.plan.limits import MIB, Limits

EPILOG = """\
examples:
  # see what failed, and why
  python -m jobs.report out/scans

  # all of it again: a cluster that lost machines, an S3 that was down
  python -m jobs.retry out/scans

  # pages that took too long or too much memory, with four times the time and the memory
  python -m jobs.retry out/scans --cause timeout --cause memory --page-timeout 120 --page-memory 8192

  # documents whose password is known by now
  python -m jobs.retry out/scans --cause needs_password --cause wrong_password --password secret

what is asked again:
  Items with a row in OUT/failures whose reason is a --cause, if their document is still there and has not
  changed; and items that a run had begun when it was cut. New documents are left to jobs.extract. An item
  that fails again has its new failure in place of the old one. The same command continues a retry that was
  cut.

exit code:
  as that of jobs.extract: 0 done, 1 broke off, 130 stopped, 2 a mistake, and nothing was started, 3 more
  documents failed than --fail-above allows
"""


def make_parser() -> Parser:
    """All flags of the job."""
    parser = Parser("retry", description=__doc__, epilog=EPILOG)
    parser.add_argument("output", metavar="OUT", help="the run's --output")
    add = parser.add_argument_group("the items to ask again, and their limits").add_argument
    add(
        "--cause",
        dest="causes",
        action="append",
        metavar="REASON",
        help="a reason in OUT/failures, such as timeout, crash, memory, missing; repeat it for several "
        "(default: all)",
    )
    add(
        "--password",
        dest="passwords",
        action="append",
        default=[],
        metavar="TEXT",
        help="tried on documents that need one; run.json keeps none: give those of the run again",
    )
    same = "(default: that of the run)"
    add("--page-timeout", type=float, metavar="SECONDS", help=f"seconds of computing for each page {same}")
    add(
        "--page-memory",
        type=int,
        metavar="MIB",
        help=f"memory to draw a page, beside the file itself {same}",
    )
    add("--document-pages", type=int, metavar="N", help=f"most pages of a document {same}")
    add(
        "--document-timeout",
        type=float,
        metavar="SECONDS",
        help=f"seconds of computing for all pages of a document {same}",
    )
    add("--limit-images", type=int, metavar="N", help=f"most images of a question {same}")
    add(
        "--require-sandbox",
        action="store_true",
        default=None,
        help=f"refuse machines that lack a part of the sandbox {same}",
    )
    add_run_rules(parser)
    parser.take_config_file()
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    return run_job(make_parser(), arguments, _retry, tells_drift=False)


def _retry(given: argparse.Namespace, rules: RunRules) -> int:
    from pipeline.commit.manifest import read_begun
    from pipeline.prepare import prepare

    record = read_begun(given.output)
    again = _causes(given, record)
    if not again:
        sentence = f"nothing has failed in {given.output}"
        say(sentence, sys.stdout)
        tell(given.output, 0, None, sentence, rules.notify)
        return 0
    with prepare(_config(given, record), again, say) as prepared:
        from jobs.run.runner import carry_out

        return carry_out(prepared, rules)


def _causes(given: argparse.Namespace, record: dict[str, Any]) -> frozenset[str]:
    """The reasons to ask again. Raises ValueError for one that nothing failed for."""
    from collections import Counter

    from pipeline.commit.tables import read_table

    failures = read_table(f"{given.output.rstrip('/')}/{record['tables']['failures']}", ["reason"])
    there = Counter(failures["reason"].to_pylist())
    unknown = [cause for cause in given.causes or () if cause not in there]
    if unknown:
        known = ", ".join(f"{reason} ({count:,})" for reason, count in there.most_common()) or "none"
        raise ValueError(
            f"--cause {unknown[0]}: nothing failed for it in {given.output}; the causes are: {known}"
        )
    return frozenset(given.causes or there)


def _config(given: argparse.Namespace, record: dict[str, Any]) -> Any:
    """The run's own FlowConfig, with what is given here. Raises ValueError."""
    from pipeline.config import FlowConfig
    from schemas.targets import Question

    config = record["config"]
    limits = config["limits"]
    for name, value in (
        ("page_seconds", given.page_timeout),
        ("page_bytes", given.page_memory and given.page_memory * MIB),
        ("document_pages", given.document_pages),
        ("document_seconds", given.document_timeout),
        ("images", given.limit_images),
        ("sandbox_required", given.require_sandbox),
    ):
        if value is not None:
            limits[name] = value
    target = config.pop("target", None)  # the records of older runs have one target, or questions
    questions = [] if target else config["questions"]
    return FlowConfig(
        **config
        | {
            "output": given.output,
            "inputs": tuple(config["inputs"]),
            "allow_roots": tuple(
                config.get("allow_roots", ())
            ),  # the records of older runs lack some of these
            "allow_hosts": tuple(config.get("allow_hosts", ())),
            "pages": tuple(config["pages"]),
            "questions": tuple(Question(**question) for question in questions),
            "stop": tuple(config.get("stop", ())),
            "targets": (target,) if target else tuple(config.get("targets", ())),
            "passwords": tuple(given.passwords),
            "limits": Limits(**limits),
        }
    )


if __name__ == "__main__":
    sys.exit(main())
