"""Carries out a prepared run for the jobs that ask (extract, retry): progress, summary and exit code."""

import sys
from functools import partial
from typing import Any

from rich.console import Console

from jobs.run.endings import FAILED, INTERRUPTED, MISTAKE
from jobs.run.engine_errors import named_engine_errors
from jobs.run.model_fetch import fetch
from jobs.run.progress_bar import progress
from jobs.run.ray_address import cluster_address
from jobs.run.ray_session import connected
from jobs.run.ray_watchdog import RayLostError, watchdog
from jobs.run.signals import graceful
from jobs.run.terminal import say, say_error, shown
from pipeline.cancellation import ask_to_stop
from pipeline.commit.tables import OutputError
from pipeline.flow import run
from pipeline.infer.placement import find_placement
from pipeline.infer.ranks import EngineBrokenError
from pipeline.plan.plan import Ask
from pipeline.prepare import Prepared


class BrokenOffError(RuntimeError):
    """The run broke off. One sentence, which says what continues it."""


def carry_out(prepared: Prepared) -> int:
    """Runs it on the cluster at hand, or ends at once where nothing is left to do; returns the exit code."""
    try:
        say(summary(run_prepared(prepared), prepared.config.output), sys.stdout)
    except ValueError as error:
        say_error(f"error: {error}")
        return MISTAKE
    except BrokenOffError as error:
        say_error(str(error))
        return FAILED
    except KeyboardInterrupt as error:
        say_error(str(error))
        return INTERRUPTED
    return 0


def run_prepared(prepared: Prepared, again: str = "the same command") -> dict[str, Any]:
    """Runs it to its end; returns run.json. `again` is what continues it.

    Raises ValueError for a mistake, BrokenOffError, and KeyboardInterrupt with a sentence if it was stopped.
    """
    output = prepared.config.output
    try:
        record = _run(prepared)
    except (OutputError, RayLostError, EngineBrokenError) as error:
        raise BrokenOffError(f"broken off: {error}; {again} continues with what {output} holds") from error
    except KeyboardInterrupt:
        record = None
    if record is None or not record["finished_at"]:
        raise KeyboardInterrupt(f"stopped: {output} holds what was done so far; {again} continues")
    return record


def _run(prepared: Prepared) -> dict[str, Any]:
    left, listed = prepared.remaining.sources.num_rows, prepared.remaining.counts.documents
    if not left:
        return run(prepared, None, lambda counts: None)
    if cluster_address() is None:
        fetch(prepared.plan.model)  # on a cluster, each machine does that when it needs the model
    console = Console(stderr=True)
    with connected() as where, graceful(partial(ask_to_stop, prepared.plan.run_id), _hush), watchdog():
        placement = find_placement(prepared.config)
        what = " and ".join(map(_named, prepared.plan.asks))
        documents = f"{left:,} documents" if left == listed else f"{left:,} of {listed:,} documents"
        console.print(shown(f"{documents}, {what}, on {where}"), highlight=False, markup=False)
        with progress(console) as observe, named_engine_errors():
            return run(prepared, placement, observe)


def _hush() -> None:
    from pipeline.ray_internals import be_quiet

    be_quiet(quiet=True)  # Ray would say of each task that ends now that it is tried again


def _named(ask: Ask) -> str:
    if ask.style == "messages":
        return "conversations"
    count = len(ask.questions)
    return ask.label or f"{count} question{'s' * (count > 1)}"


def summary(record: dict[str, Any], output: str) -> str:
    """The run's counts and tables in a few lines."""
    counts, seconds = record["counts"], record["timings"]["run_seconds"]
    lines = [
        f"{counts['documents']:,} documents: {counts['complete']:,} complete, "
        f"{counts['partial']:,} partial, {counts['failed_documents']:,} failed",
        f"{counts['expected']:,} items: {counts['answered']:,} answered, {counts['failed']:,} failed, "
        f"in {seconds:.0f} s",
        *_shared(record),
        *_before(record),
        *(f"{name:<10} {output.rstrip('/')}/{path}" for name, path in record["tables"].items()),
    ]
    return "\n".join(lines)


def _shared(record: dict[str, Any]) -> list[str]:
    shared = record["counts"].get("shared")  # the records of older runs lack it
    return [f"{shared:,} of the items share the result of an identical one"] if shared else []


def _before(record: dict[str, Any]) -> list[str]:
    reused = record["reused"]
    if not reused["documents"]:
        return []
    return [f"{reused['documents']:,} documents with {reused['items']:,} items were done before"]
