"""Measures the memory of an engine on CPUs over pages of many shapes, against pages of one shape.

Each case is a process of its own, in which one engine answers a question about each page, one page after the
other. oneDNN keeps the code that it has made for the shape of a product, up to a number of such primitives.
"""

import argparse
import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from jobs.bench.flags import add_checkpoint, new_parser
from jobs.bench.models import DTYPES
from jobs.bench.printing import machine, print_json, print_table
from model.checkpoint import default_dtype, load_model
from model.engine.config import EngineConfig
from model.engine.engine import BatchEngine
from model.engine.request import Branch, Group
from model.engine.sampling_params import SamplingParams
from model.executor.factory import ExecutorConfig
from model.network.image_grid import grid
from model.text.tokenizer import ImagePlaceholder, Tokenizer
from pipeline.infer.device import PRIMITIVES, bound_primitives
from pipeline.plan.limits import MIB
from pipeline.plan.prompts import about, question_prompt, tokenize

PATCHES = range(16, 65)  # of a side
SIDE = 1024  # longest edge in pixels
ONE = (64, 48)  # patches: about A4
QUESTION = "What is the total?"
CACHE_TOKENS = 16_384  # few: the kernel counts a page of the cache once something was written to it

Shape = tuple[int, int]
"""Rows and columns of patches."""


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("shapes", __doc__)
    add_checkpoint(parser)
    parser.add_argument("--pages", type=int, default=358, help="of each case")
    parser.add_argument("--tokens", type=int, default=8, help="length of every answer in tokens")
    parser.add_argument("--dtype", choices=DTYPES, help="default: the faster one of this machine")
    parser.add_argument(
        "--primitives",
        nargs="+",
        type=int,
        default=[PRIMITIVES, 1024],
        help="that oneDNN may keep; its own default is 1024",
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for each bound, over pages of one shape and of many."""
    cpu = torch.device("cpu")
    dtype = default_dtype(cpu) if arguments.dtype is None else DTYPES[arguments.dtype]
    most = len(PATCHES) ** 2
    if not 1 <= arguments.pages <= most:
        raise ValueError(f"--pages {arguments.pages}: it must be 1 to {most}, the number of shapes")
    pairs = [(rows, columns) for rows in PATCHES for columns in PATCHES]
    many = random.Random(0).sample(pairs, arguments.pages)
    rows = []
    for bound in arguments.primitives:
        one = measure(arguments.model, [ONE] * arguments.pages, bound, dtype, arguments.tokens)
        other = measure(arguments.model, many, bound, dtype, arguments.tokens)
        for name, found in (("one", one), ("many", other)):
            times = round(found["mib"] / one["mib"], 2)
            rows.append({"primitives": bound, "shapes": name, **found, "times_one_shape": times})
    title = f"An engine after {arguments.pages} pages in {dtype} on {machine(cpu)}"
    print_table(title, rows, left=("shapes",))
    print_json("shapes", rows, machine=machine(cpu))


def measure(
    model: Path, shapes: Sequence[Shape], primitives: int, dtype: torch.dtype, tokens: int
) -> dict[str, Any]:
    """Mebibytes of a process that has answered about a page of each shape, and the seconds that it took."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(model, shapes, primitives, dtype, tokens, theirs))
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the engine's process ended: exit code {process.exitcode}") from None
    process.join()
    return found


def _answer(
    folder: Path,
    shapes: Sequence[Shape],
    primitives: int,
    dtype: torch.dtype,
    tokens: int,
    pipe: Connection,
) -> None:
    os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = str(primitives)
    bound_primitives()
    model = load_model(folder, device=torch.device("cpu"), dtype=dtype)
    tokenizer = Tokenizer.from_file(folder / "tekken.json", model.config.vocab_size)
    executor = ExecutorConfig(cache_tokens=CACHE_TOKENS)
    engine = BatchEngine(model, eos_id=tokenizer.eos, config=EngineConfig(executor=executor))
    numbers = np.random.default_rng(0)
    patch = model.config.vision.patch_size
    taken: list[int] = []
    started = time.perf_counter()
    for rows, columns in shapes:
        pixels = numbers.integers(0, 256, (rows * patch, columns * patch, 3), np.uint8)
        picture = ImagePlaceholder(*grid(*pixels.shape[:2], max_side=SIDE, patch_size=patch))
        prompt = tokenize(tokenizer, [about([picture], question_prompt(QUESTION))])
        branch = Branch(
            id="answer",
            ids=prompt.branches[0],
            max_new_tokens=tokens,
            sampling=SamplingParams(ignore_eos=True),
        )
        group = Group(id="page", prefix_ids=prompt.prefix, images=[pixels], branches=[branch], max_side=SIDE)
        engine.submit(group)
        while engine.pending:
            for completion in engine.step():
                if completion.error:
                    raise RuntimeError(completion.error)
        taken.append(psutil.Process().memory_info().rss)
    seconds = time.perf_counter() - started
    pipe.send(
        {
            "first_mib": taken[0] // MIB,
            "half_mib": taken[len(taken) // 2] // MIB,
            "mib": taken[-1] // MIB,
            "seconds": round(seconds, 1),
        }
    )
