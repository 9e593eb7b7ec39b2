"""The flags of what a job may fetch from the web, and the rules that they mean."""

import argparse
from typing import TYPE_CHECKING

from jobs.run.model_flags import Add

if TYPE_CHECKING:
    from pipeline.ingest.fetching import WebRules


def add_web_flags(add: Add) -> None:
    """Adds the flags, by a group's `add_argument`."""
    add("--allow-http", action="store_true", help="fetch images at http(s) addresses, with limits")
    add(
        "--allow-host",
        dest="allow_hosts",
        action="append",
        default=[],
        metavar="HOST",
        help="fetch images of this host though it lies in a private network; repeat it for several",
    )


def web_rules(given: argparse.Namespace) -> "WebRules | None":
    """What may be fetched; None: nothing. Raises ValueError."""
    from pipeline.ingest.fetching import WebRules  # only here, so that --help answers at once

    if given.allow_hosts and not given.allow_http:
        raise ValueError("--allow-host is about images from the web: add --allow-http, or leave it out")
    return WebRules(private_hosts=frozenset(map(str.lower, given.allow_hosts))) if given.allow_http else None
