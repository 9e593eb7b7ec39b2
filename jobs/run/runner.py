"""Carries out a prepared run for the jobs that ask (extract, retry): progress, summary and exit code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import TIMEOUT_MAX, Timer
from typing import Any

from rich.console import Console

from jobs.quality.drift import LEAST, compare, drifts_of
from jobs.quality.measures import read_measures
from jobs.run.endings import FAILED, INTERRUPTED, MANY_FAILURES, code_of, sentence_of
from jobs.run.engine_errors import named_engine_errors
from jobs.run.metrics import RunMetrics, served
from jobs.run.model_fetch import fetch
from jobs.run.notify import tell, tell_end
from jobs.run.progress_bar import both, progress
from jobs.run.ray_address import cluster_address
from jobs.run.ray_session import connected
from jobs.run.ray_watchdog import RayLostError, watchdog
from jobs.run.run_rules import RunRules, Share
from jobs.run.signals import graceful
from jobs.run.terminal import is_json, say, say_event, shown
from pipeline.cancellation import ask_to_stop, why_stopping
from pipeline.commit.document_progress import Counts
from pipeline.commit.tables import OutputError
from pipeline.commit.tally import Tally
from pipeline.flow import COMPLETE, run
from pipeline.infer.placement import find_placement
from pipeline.infer.ranks import EngineBrokenError
from pipeline.plan.plan import Ask
from pipeline.prepare import Prepared

MAX_HOURS = "max-hours"  # how a run ends whose time is over, in its run.json


class BrokenOffError(RuntimeError):
    """The run broke off. One sentence, which says what continues it."""


class ManyFailuresError(RuntimeError):
    """The run has ended, and more of its documents failed than it may. One sentence."""

    def __init__(self, sentence: str, record: dict[str, Any]) -> None:
        super().__init__(sentence)
        self.record = record
        """run.json."""


ENDINGS = (ManyFailuresError, ValueError, BrokenOffError, KeyboardInterrupt)  # of runs that are not whole


def carry_out(prepared: Prepared, rules: RunRules | None = None) -> int:
    """Runs it on the cluster at hand, or ends at once where nothing is left to do; returns the exit code."""
    rules = rules or RunRules()
    record = None
    try:
        record, code, sentence = run_prepared(prepared, rules=rules), 0, None
    except ENDINGS as error:
        record, code, sentence = _ending(error)
    output = prepared.config.output
    if record is not None:
        say(summary(record, output), sys.stdout)
    tell_end(output, code, record, sentence, rules.notify)
    return code


def run_told(prepared: Prepared, again: str, rules: RunRules) -> dict[str, Any]:
    """As `run_prepared`; the webhook, and a log of JSON, are told how it ended."""
    output = prepared.config.output
    try:
        record = run_prepared(prepared, again, rules)
    except ENDINGS as error:
        left, code, sentence = _ending(error)
        tell(output, code, left, sentence, rules.notify)
        raise
    tell(output, 0, record, None, rules.notify)
    return record


def _ending(error: BaseException) -> tuple[dict[str, Any] | None, int, str]:
    """Of a run that ended in an error: run.json, if it has one; the exit code; a sentence."""
    if isinstance(error, ManyFailuresError):
        return error.record, MANY_FAILURES, str(error)
    if isinstance(error, ValueError):
        return None, code_of(error), sentence_of(error)
    return None, INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED, str(error)


def run_prepared(
    prepared: Prepared, again: str = "the same command", rules: RunRules | None = None
) -> dict[str, Any]:
    """Runs it to its end, or that of its hours; returns run.json. `again` is what continues it.

    Raises ValueError for a mistake, BrokenOffError, ManyFailuresError, and KeyboardInterrupt with a sentence
    if it was stopped.
    """
    output, rules = prepared.config.output, rules or RunRules()
    before = replace(prepared.remaining.counts)  # the run counts on
    try:
        record = _run(prepared, rules)
    except (OutputError, RayLostError, EngineBrokenError) as error:
        raise BrokenOffError(f"broken off: {error}; {again} continues with what {output} holds") from error
    except KeyboardInterrupt:
        record = None
    if record is None or record["ended"] not in (COMPLETE, MAX_HOURS):
        raise KeyboardInterrupt(f"stopped: {output} holds what was done so far; {again} continues")
    record["drift"] = _drift(record, output) if rules.tells_drift else []
    if rules.fail_above is not None:
        _check_failures(record, before, rules.fail_above)
    return record


def _drift(record: dict[str, Any], output: str) -> list[str]:
    """How the run differs from those before it, if it does: said, and no reason to fail."""
    if record["counts"]["documents_done"] - record["reused"]["documents"] < LEAST:
        return []
    try:
        return drifts_of(compare(read_measures(output, record["tables"]), record["run_id"]))
    except (OSError, ValueError, OutputError) as error:
        say(f"the run could not be compared with those before it: {error}")
        return []


def _check_failures(record: dict[str, Any], before: Counts, most: Share) -> None:
    done = record["counts"]["documents_done"] - before.documents_done
    failed = record["counts"]["failed_documents"] - before.failed_documents
    if done and failed / done > most:
        raise ManyFailuresError(
            f"{failed:,} of the {done:,} documents of this run failed, more than --fail-above "
            f"{most} allows: python -m jobs.report says why",
            record,
        )


def _run(prepared: Prepared, rules: RunRules) -> dict[str, Any]:
    left, listed = prepared.remaining.sources.num_rows, prepared.remaining.counts.documents
    if not left:
        return run(prepared, None, lambda counts: None)
    if cluster_address() is None:
        fetch(prepared.plan.model)  # on a cluster, each machine does that when it needs the model
    console = Console(stderr=True)
    tally = Tally()
    run_id = prepared.plan.run_id
    metrics = RunMetrics(prepared.remaining.counts, tally)
    with (
        served(metrics, rules.metrics_at),
        connected() as where,
        graceful(partial(ask_to_stop, run_id, "stopped"), _hush),
        watchdog(),
        _ended_in_time(run_id, rules.seconds_left),
    ):
        placement = find_placement(prepared.config)
        what = " and ".join(map(_named, prepared.plan.asks))
        documents = f"{left:,} documents" if left == listed else f"{left:,} of {listed:,} documents"
        if is_json():
            say_event("start", text=f"{documents}, {what}, on {where}", run_id=run_id)
        else:
            console.print(shown(f"{documents}, {what}, on {where}"), highlight=False, markup=False)
        with progress(console) as observe, named_engine_errors():
            return run(prepared, placement, both(observe, metrics.look), tally)


@contextmanager
def _ended_in_time(run_id: str, seconds: float | None) -> Iterator[None]:
    """Asks the run to stop after so many seconds, if it is to."""
    if seconds is None:
        yield
        return

    def end() -> None:
        if why_stopping(run_id) is None:  # else it was stopped, and ends as such
            say("the hours of --max-hours are over: finishing what runs")
            ask_to_stop(run_id, MAX_HOURS)

    timer = Timer(min(seconds, TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
        *_ended(record),
        *(f"drift: {sentence}" for sentence in record.get("drift", ())),
        *_shared(record),
        *_before(record),
        *(f"{name:<10} {output.rstrip('/')}/{path}" for name, path in record["tables"].items()),
    ]
    return "\n".join(lines)


def _ended(record: dict[str, Any]) -> list[str]:
    if record.get("ended") != MAX_HOURS:  # the records of older runs lack it
        return []
    left = record["counts"]["documents"] - record["counts"]["documents_done"]
    return [f"ended after --max-hours: {left:,} documents are left, and the same command goes on"]


def _shared(record: dict[str, Any]) -> list[str]:
    shared = record["counts"].get("shared")  # the records of older runs lack it
    return [f"{shared:,} of the items share the result of an identical one"] if shared else []


def _before(record: dict[str, Any]) -> list[str]:
    reused = record["reused"]
    if not reused["documents"]:
        return []
    return [f"{reused['documents']:,} documents with {reused['items']:,} items were done before"]
