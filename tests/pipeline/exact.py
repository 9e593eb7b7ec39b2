"""The main job in float64, in which answers are equal whatever dies, and with a commit a second.

python -m tests.pipeline.exact FLAGS OF jobs.extract

QUIRE_DIE_IN_COMMIT=SEED has it die in one of its commits, and QUIRE_NODE=NAME attaches it to that node of the
cluster that RAY_ADDRESS names.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from threading import Thread
from typing import Any

from deltalake import DeltaTable
from ray._private import services

from jobs.extract import make_parser
from jobs.run.config_of_flags import config_of
from jobs.run.runner import carry_out
from pipeline.commit import writer
from pipeline.prepare import prepare

COMMITS = 4  # it dies before so many: a run over a dozen documents has few more
COMMIT_SECONDS = 0.06  # what a commit takes here


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    writer.COMMIT_SECONDS = 1.0
    if node := os.environ.get("QUIRE_NODE"):
        _attach(node)
    try:
        with prepare(replace(config_of(make_parser().parse_args(arguments)), dtype="float64")) as prepared:
            if seed := os.environ.get("QUIRE_DIE_IN_COMMIT"):
                _die_in_commit(Random(seed))
            return carry_out(prepared)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _attach(node: str) -> None:
    """On a machine with several nodes Ray prefers the head, and has no argument for another choice."""
    really = services.get_node_to_connect_for_driver

    def choose(*args: Any, **kwargs: Any) -> Any:
        return really(*args, **kwargs | {"node_name": node})

    services.get_node_to_connect_for_driver = choose


def _die_in_commit(chance: Random) -> None:
    """At any moment of one, or else between a data file and its entry in the log."""
    left = chance.randrange(1, COMMITS)
    if chance.random() < 0.5:
        really: Callable[..., None] = writer.Writer.commit
        moment = chance.uniform(0, COMMIT_SECONDS)

        def commit(self: writer.Writer) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                Thread(target=_die_after, args=(moment,), daemon=True).start()
            really(self)

        writer.Writer.commit = commit  # type: ignore[method-assign]  # no other way in
        return

    def log(*args: object, **kwargs: object) -> None:
        nonlocal left
        left -= bool(args[1])  # files
        if left == 0:
            _die_after(0)
        enter(*args, **kwargs)

    enter: Callable[..., None] = DeltaTable.create_write_transaction
    DeltaTable.create_write_transaction = log  # type: ignore[method-assign]  # no other way in


def _die_after(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
