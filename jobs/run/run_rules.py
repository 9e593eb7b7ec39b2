"""The flags about a run as a whole, which no answer depends on: when it ends, and who is told."""

import argparse
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from jobs.run.metrics import parse_place
from jobs.run.notify import check_address, faults_told, tell_unstarted
from jobs.run.signals import sigterm_stops
from jobs.run.terminal import start_output, write_json

# Their names among the parsed flags: none of them is a setting of the flow.
RUN_FLAGS: Final = ("max_hours", "fail_above", "notify", "metrics_port", "log_json")


@dataclass(frozen=True, kw_only=True)
class RunRules:
    """When a run ends, with which exit code, and who is told."""

    max_hours: float | None = None
    """After which it ends cleanly; None: never."""
    fail_above: "Share | None" = None
    """The share of its documents that may fail; None: all."""
    notify: str | None = field(default=None, repr=False)
    """The address of a webhook that is told of the end; it is a secret."""
    metrics_at: tuple[str, int] | None = None
    """The host and the port at which Prometheus reads the run's metrics."""
    tells_drift: bool = False
    """Whether the run is compared with those before it: one that asks failures again is another kind."""
    started: float = field(default_factory=time.monotonic)
    """When the job began, on the monotonic clock."""

    @property
    def seconds_left(self) -> float | None:
        """Until the run is to end; None: it is not."""
        if self.max_hours is None:
            return None
        return max(0.0, self.started + self.max_hours * 3600 - time.monotonic())


def add_run_rules(parser: argparse.ArgumentParser) -> None:
    """The flags, in a group of their own."""
    add = parser.add_argument_group("the run as a whole").add_argument
    add(
        "--max-hours",
        type=hours,
        metavar="H",
        help="begin nothing more after so many hours, commit, and end with exit code 0; the same command "
        "goes on (default: to the end)",
    )
    add(
        "--fail-above",
        type=share,
        metavar="N%",
        help="end with exit code 3 if more than this share of the run's documents failed, such as 2%% "
        "(default: failures do not matter)",
    )
    add(
        "--notify",
        metavar="URL",
        help="POST the summary of the run as JSON to this webhook when it ends, in whichever way",
    )
    add(
        "--metrics-port",
        metavar="[HOST:]PORT",
        help="serve the metrics of the run to Prometheus, as 9100 to this machine alone, or 0.0.0.0:9100",
    )
    add(
        "--log-json",
        action="store_true",
        help="write what the job says to stderr as JSON, one object a line, progress and summary too",
    )


def rules_of(given: argparse.Namespace, *, tells_drift: bool) -> RunRules:
    """The rules of parsed flags. Raises ValueError."""
    write_json(given.log_json)
    return RunRules(
        max_hours=given.max_hours,
        fail_above=given.fail_above,
        tells_drift=tells_drift,
        notify=None if given.notify is None else check_address(given.notify),
        metrics_at=None if given.metrics_port is None else parse_place(given.metrics_port),
    )


def run_job(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    work: Callable[[argparse.Namespace, RunRules], int],
    *,
    tells_drift: bool,
) -> int:
    """A job that asks, from its words to its exit code: `work` is given the flags, and what the run's mean.

    Whatever ends it before the run does is told as the end of a run is.
    """
    start_output(logging.WARNING)
    output = url = None
    try:
        given = parser.parse_args(arguments)
        rules = rules_of(given, tells_drift=tells_drift)
        output, url = given.output, rules.notify
        with sigterm_stops(), faults_told(output, url):
            return work(given, rules)
    except (ValueError, KeyboardInterrupt) as error:
        return tell_unstarted(error, output, url)


def hours(text: str) -> float:
    """The value of --max-hours. Raises ArgumentTypeError."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours above 0, such as 7.5")
    return found


class Share(float):
    """0 to 1, written as a percentage."""

    def __str__(self) -> str:
        return f"{100 * self:.6g}%"


def share(text: str) -> Share:
    """The value of --fail-above, such as 2%. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", text, re.ASCII)
    if not found or float(found[1]) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage from 0% to 100%, such as 2%")
    return Share(float(found[1]) / 100)
