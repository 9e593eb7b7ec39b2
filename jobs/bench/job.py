"""Runs W1's pages through the engine alone, and then as PDFs through the whole job, jobs.extract.

Both run as commands of their own, on one GPU or the CPU, one after the other. The job's time is that of its
Replica, from the first page to the last answer: what it computed, and what it waited for pages. Starting Ray
and loading the model do not count. With --shape a checkpoint of that shape with random weights is written
first.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynvml
import torch

from jobs.bench.flags import add_model, add_share, check_share, new_parser
from jobs.bench.models import SHAPES, this_device, tokenizer_file, write_checkpoint
from jobs.bench.printing import machine, print_json, print_table
from jobs.bench.workloads import WORKLOADS, Workload, draw_pages
from jobs.run.ray_session import ROOT
from model.config import PixtralConfig
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import read_table

_PAGES = 4  # of a document
_QUESTION = "What is the total amount shown on this page? Answer with the number only, please."


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("job", __doc__)
    add_model(parser)
    add_share(parser, help="run this share of W1's pages")
    parser.add_argument(
        "--folder",
        type=Path,
        help="for the checkpoint (24 GB for pixtral-12b), documents and tables while it runs; default: the "
        "system's for temporary files",
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for the engine alone, and one for the job."""
    check_share(arguments.share)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        model = arguments.model
        if arguments.shape:
            model = Path(folder) / "model"
            tokenizer = tokenizer_file(arguments.model, arguments.shape)
            write_checkpoint_apart(SHAPES[arguments.shape], tokenizer, model)
        rows = compare(model, arguments.share, Path(folder))
    on = machine(this_device())
    print_table(f"W1 of {arguments.shape or arguments.model} on {on}", rows, left=("what",))
    print_json("job", rows, machine=on, share=arguments.share)


def write_checkpoint_apart(config: PixtralConfig, tokenizer: Path, folder: Path) -> None:
    """`write_checkpoint` in a process of its own, which at its end leaves the GPU as it was."""
    process = multiprocessing.get_context("spawn").Process(
        target=write_checkpoint,
        args=(config, tokenizer, folder),
        kwargs={"device": this_device(), "dtype": torch.bfloat16},
    )
    process.start()
    process.join()
    if process.exitcode:
        raise ValueError("the checkpoint could not be written: see above")


def draw_documents(work: Workload, folder: Path) -> None:
    """The workload's pages, those that the engine is given, as PDFs of a few pages each."""
    folder.mkdir()
    pages = draw_pages(work, "W1")
    for first in range(0, work.pages, _PAGES):
        # 72 to the inch: a point is a pixel.
        path, others = folder / f"{first:06}.pdf", pages[first + 1 : first + _PAGES]
        pages[first].save(path, "PDF", resolution=72, save_all=True, append_images=others)


def compare(model: Path, share: float, folder: Path) -> list[dict[str, Any]]:
    """A row of the engine alone and one of the job; `folder` is for documents and tables."""
    work = WORKLOADS["W1"].scaled(share)
    draw_documents(work, folder / "documents")
    engine = _engine(model, share)
    with _usage() as usage:
        job = _job(model, work, folder)
    window = job.pop("window")
    busy = [percent for at, percent in usage if window[0] <= at <= window[1]]
    job["gpu_busy"] = round(sum(busy) / len(busy) / 100, 3) if busy else None
    job["of_the_engine"] = round(job["pages_per_second"] / engine["pages_per_second"], 3)
    return [engine, job]


def _engine(model: Path, share: float) -> dict[str, Any]:
    command = ["jobs.benchmark", "engine", "--model", str(model), "--work", "W1", "--share", str(share)]
    [row] = json.loads(_output_of(command).splitlines()[-1])["rows"]
    waited = row["gpu_waited"]
    return {
        "what": "engine",
        "pages_per_second": row["pages_per_second"],
        "computing_seconds": row["seconds"],
        "waiting_seconds": 0.0,
        "run_seconds": None,
        "gpu_busy": None if waited is None else round(1 - waited / row["seconds"], 3),
        "of_the_engine": 1.0,
    }


def _job(model: Path, work: Workload, folder: Path) -> dict[str, Any]:
    flags = {
        "--model": model,
        "--input": folder / "documents",
        "--output": folder / "out",
        "--question": _QUESTION,
        "--max-new-tokens": work.tokens,
        "--max-side": max(work.width, work.height),
        "--replicas": 1,
    }
    _output_of(["jobs.extract", *(str(part) for flag in flags.items() for part in flag)])
    record = read_record(str(folder / "out"))
    counts, timings = record["counts"], record["timings"]
    if counts["expected"] != work.pages or counts["pages"] != work.pages:
        raise ValueError(f"of {work.pages} pages {counts['pages']} were asked: see {folder / 'out'}")
    rows = read_table(str(folder / "out" / "answers" / "text"))["answered_at"].to_pylist()
    computing, waiting = timings["generate_seconds"], timings["idle_seconds"]
    return {
        "what": "job",
        "pages_per_second": round(work.pages / (computing + waiting), 2),
        "computing_seconds": round(computing, 2),
        "waiting_seconds": round(waiting, 2),
        "run_seconds": round(timings["run_seconds"], 2),
        "window": (min(rows).timestamp(), max(rows).timestamp()),
    }


def _output_of(command: list[str]) -> str:
    """What a command of ours prints. ValueError if it fails."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ValueError(f"python -m {' '.join(command)} ended with code {done.returncode}: see above")
    return done.stdout


@contextmanager
def _usage() -> Iterator[list[tuple[float, float]]]:
    """Ten times a second, the share of time in which the first GPU ran a kernel, in percent; empty without
    one. Not through torch, which would take memory of it."""
    samples: list[tuple[float, float]] = []
    if not torch.cuda.is_available():
        yield samples
        return
    pynvml.nvmlInit()
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            samples.append((time.time(), float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu)))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()
        pynvml.nvmlShutdown()
