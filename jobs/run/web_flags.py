"""The flags of what a job may fetch from the web, and the rules that they mean."""

import argparse
from typing import TYPE_CHECKING

from jobs.run.model_flags import Add

if TYPE_CHECKING:
    from pipeline.ingest.fetching import WebRules


def add_web_flags(add: Add, what: str = "images") -> None:
    """Adds the flags, by a group's `add_argument`."""
    add("--allow-http", action="store_true", help=f"fetch {what} at http(s) addresses, with limits")
    add(
        "--allow-host",
        dest="allow_hosts",
        action="append",
        default=[],
        metavar="HOST",
        help=f"fetch {what} of this host though it lies in a private network; repeat it for several",
    )


def web_rules(given: argparse.Namespace) -> "WebRules | None":
    """What may be fetched; None: nothing. Raises ValueError."""
    from pipeline.ingest.fetching import rules_of  # only here, so that --help answers at once

    return rules_of(given.allow_http, given.allow_hosts)
