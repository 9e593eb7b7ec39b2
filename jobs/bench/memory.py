"""Measures the memory of whole runs over more and more pages, by kind of process, at each tenth of the run.

A run is the real one (Ray, sandboxes, Replica, tables), in a process of its own, over small pages of many
shapes and with a tiny random model. The documents are written before it starts. This process looks from
outside, at /proc; the run's driver tells how far it is, and how much Ray's object store holds.
"""

import argparse
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch

from jobs.bench.flags import new_parser
from jobs.bench.models import NANO, TINY, write_checkpoint
from jobs.bench.printing import print_json, print_table
from jobs.bench.process_memory import DRIVER, KINDS, WORKER, Footprint, footprint, log_bytes
from jobs.bench.synthetic_corpus import LONG, SHAPES, write_corpus
from pipeline.plan.limits import MIB

SIDE = LONG  # pixels of a page: a point each
MODEL = replace(TINY, vision=replace(TINY.vision, image_size=SIDE))
TOKENS = 2  # of an answer
QUESTION = "Which number?"
LOOK_SECONDS = 1.0  # between two samples
TENTHS = 10
BAR = 12  # characters of a bar at most
MEASURES = (*KINDS, "all", "store", "spilled", "logs")


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("memory", __doc__)
    parser.add_argument(
        "--pages",
        nargs="+",
        type=int,
        default=[1_000, 10_000, 100_000],
        help=f"of each run, of {len(SHAPES)} shapes, {SIDE} pixels long",
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A table for each number of pages, one run after the other, and one of all."""
    if min(arguments.pages) < 1:
        raise ValueError(f"--pages {min(arguments.pages)}: it must be at least 1")
    rows = []
    for count in arguments.pages:
        row = measure(count, NANO / "tekken.json", partial(print, file=sys.stderr, flush=True))
        title = (
            f"MiB in a run over {count:,} pages of {row['documents']:,} documents, "
            f"{row['pages_per_second']} pages/s"
        )
        print_table(title, draw_curve(row["curve"]), left=("curve",))
        rows.append(row)
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    title = f"MiB at most, and in the last tenth of the run, on {machine}"
    print_table(title, ends(rows), left=("process",))
    print_json("memory", rows, machine=machine)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The driver's message about its run."""

    pages: int
    store: int
    """Bytes of the object store in use."""
    objects: int
    """In the object store."""
    spilled: int
    """Bytes that were ever written to disk for want of memory."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One moment of a run."""

    seconds: float
    told: Progress
    seen: Footprint
    logs: int


def measure(pages: int, tokenizer: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """One run; mebibytes of each kind of process at each tenth of its pages, and at most.

    `report` is told a line at the beginning of each tenth: a run over many pages takes an hour.
    """
    with tempfile.TemporaryDirectory(prefix="quire-memory-") as name:
        folder = Path(name)
        documents = write_corpus(folder / "documents", pages)
        write_checkpoint(MODEL, tokenizer, folder / "model", device=torch.device("cpu"), dtype=torch.float32)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        driver = context.Process(target=_drive, args=(folder, theirs))
        driver.start()
        theirs.close()
        assert driver.pid is not None
        try:
            samples = []
            tenth = -1
            for sample in _watch(driver.pid, ours):
                samples.append(sample)
                if tenth < (tenth := TENTHS * sample.told.pages // pages):
                    report(_line(sample))
            driver.join()
        finally:
            driver.kill()
        if driver.exitcode:
            raise RuntimeError(f"the run over {pages} pages broke off: exit code {driver.exitcode}")
    return _row(pages, documents, samples)


def _watch(driver: int, pipe: Connection) -> Iterator[Sample]:
    """Samples from the first page's answer to about the last one's, as often as the driver says something."""
    started = None
    while True:
        told = None
        try:
            while told is None or pipe.poll():
                told = pipe.recv()
        except EOFError:
            return
        if started is None:
            started = time.monotonic()
        seen = footprint(driver)
        if not seen.own[DRIVER]:
            continue  # it has ended meanwhile
        logs = log_bytes(seen.session) if seen.session else 0
        yield Sample(seconds=time.monotonic() - started, told=told, seen=seen, logs=logs)


def _drive(folder: Path, pipe: Connection) -> None:
    """The driver: a run as jobs.extract makes it."""
    from jobs.run.ray_session import connected
    from pipeline.commit.document_progress import Counts
    from pipeline.config import FlowConfig
    from pipeline.flow import run
    from pipeline.infer.placement import find_placement
    from pipeline.prepare import prepare
    from schemas.targets import Question

    config = FlowConfig(
        inputs=(str(folder / "documents"),),
        output=str(folder / "out"),
        model=str(folder / "model"),
        questions=(Question(text=QUESTION),),
        max_side=SIDE,
        max_new_tokens=TOKENS,
    )
    last = 0.0

    def observe(counts: Counts) -> None:
        nonlocal last
        if counts.pages and time.monotonic() - last >= LOOK_SECONDS:
            last = time.monotonic()
            pipe.send(Progress(pages=counts.pages, **store.look()))

    with prepare(config) as prepared, connected():
        store = _Store()
        # A model this small gains nothing from a second thread, which on a busy machine it waits for.
        run(prepared, replace(find_placement(config), threads=1), observe)


class _Store:
    """Asks the raylet about its object store, through one connection."""

    def __init__(self) -> None:
        from pipeline.ray_internals import raylet_stub

        self._raylet, self._request = raylet_stub()

    def look(self) -> dict[str, int]:
        """The store's numbers in `Progress`."""
        said = self._raylet.GetNodeStats(self._request, timeout=30).store_stats
        return {
            "store": said.object_store_bytes_used,
            "objects": said.num_local_objects,
            "spilled": said.spilled_bytes_total,
        }


def _line(sample: Sample) -> str:
    sizes = ", ".join(f"{name} {_size(sample, name):.0f}" for name in MEASURES)
    return f"{sample.told.pages:,} pages after {sample.seconds:.0f} s, in MiB: {sizes}"


def _row(pages: int, documents: int, samples: list[Sample]) -> dict[str, Any]:
    tenths: list[list[Sample]] = [[] for _ in range(TENTHS)]
    for sample in samples:
        tenths[min(TENTHS - 1, TENTHS * sample.told.pages // pages)].append(sample)
    curve = [_tenth(number, some) for number, some in enumerate(tenths, start=1) if some]
    seconds = samples[-1].seconds
    return {
        "pages": pages,
        "documents": documents,
        "seconds": round(seconds, 1),
        "pages_per_second": round(samples[-1].told.pages / seconds, 1),
        "peak": {name: max(_size(sample, name) for sample in samples) for name in MEASURES},
        "end": {name: curve[-1][name] for name in MEASURES},
        "curve": curve,
    }


def _tenth(number: int, samples: list[Sample]) -> dict[str, Any]:
    """The medians over a tenth of a run."""
    return {
        "of_run": f"{100 * number // TENTHS}%",
        "pages": samples[-1].told.pages,
        "seconds": round(samples[-1].seconds),
        **{name: round(median(_size(sample, name) for sample in samples), 1) for name in MEASURES},
        "objects": round(median(sample.told.objects for sample in samples)),
        "worker_processes": round(median(sample.seen.processes[WORKER] for sample in samples)),
    }


def _size(sample: Sample, name: str) -> float:
    """In MiB."""
    if name in KINDS:
        found = sample.seen.own[name]
    elif name == "all":
        found = sample.seen.everything
    elif name == "logs":
        found = sample.logs
    else:
        found = getattr(sample.told, name)
    return round(found / MIB, 1)


def draw_curve(curve: list[dict[str, Any]]) -> list[dict[str, object]]:
    """A line for each tenth, for people: in whole MiB, with a bar for all of it."""
    most = max(tenth["all"] for tenth in curve)
    return [
        {name: tenth[name] for name in ("of_run", "pages", "seconds")}
        | {name: round(tenth[name]) for name in MEASURES}
        | {"curve": "█" * round(BAR * tenth["all"] / most)}
        for tenth in curve
    ]


def ends(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A line for each kind of process: its most and its last memory in each run."""
    return [
        {"process": name}
        | {f"{row['pages']:,} pages": f"{row['peak'][name]:.0f} / {row['end'][name]:.0f}" for row in rows}
        for name in MEASURES
    ]
