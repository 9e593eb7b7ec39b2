"""Runs four workloads through the batch engine, without Ray: pages, questions and tokens a second.

The pages are PIL images in memory, and the answers have a forced length. Each workload runs once, after a
tenth of it that warms up. With --shape a model of that shape gets random weights where it runs, so that no
checkpoint is needed.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial

from jobs.bench.flags import add_computing, add_model, add_share, check_share, new_parser
from jobs.bench.gpu import kernel_times, matmul_ceiling
from jobs.bench.models import DTYPES, make_model, this_device, tokenizer_file
from jobs.bench.printing import machine, print_json, print_table
from jobs.bench.workloads import NO_GUARD, WORKLOADS, draw_pages, run_workload
from model.checkpoint import default_dtype
from model.engine.config import EngineConfig
from model.engine.engine import BatchEngine
from model.executor.factory import ExecutorConfig
from model.text.tokenizer import Tokenizer

REPORT_SECONDS = 10.0  # between two lines about how far a workload is


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("engine", __doc__)
    add_model(parser)
    parser.add_argument(
        "--work",
        nargs="+",
        choices=WORKLOADS,
        default=list(WORKLOADS),
        help="W1: 256 pages of 784 x 1024 pixels, one question of 20 tokens, answers of 16; W2: 64 pages, 8 "
        "questions each; W3: 256 pages, answers of 256; W4: 512 charts of 800 x 608 pixels, answers of 128",
    )
    add_share(parser, help="run this share of each workload's pages")
    add_computing(parser)
    parser.add_argument("--fp8-cache", action="store_true", help="keep keys and values in FP8 (GPU)")
    parser.add_argument(
        "--step-tokens",
        type=int,
        help="most tokens computed in a step; default: 16384 on a GPU, 8192 on a CPU",
    )
    parser.add_argument("--cache-tokens", type=int, help="tokens that the cache holds; default: what fits")
    parser.add_argument(
        "--profile", action="store_true", help="also print what the GPU did with its time, by kernel (GPU)"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for each workload."""
    device = this_device()
    if arguments.profile and device.type == "cpu":
        raise ValueError("--profile looks at a GPU's kernels, and there is no GPU")
    check_share(arguments.share)
    if arguments.step_tokens is not None and arguments.step_tokens < 1:
        raise ValueError(f"--step-tokens {arguments.step_tokens}: it must be at least 1")
    dtype = default_dtype(device) if arguments.dtype is None else DTYPES[arguments.dtype]
    started = time.perf_counter()
    model = make_model(arguments.model, arguments.shape, device=device, dtype=dtype)
    tokenizer = Tokenizer.from_file(tokenizer_file(arguments.model, arguments.shape))
    ceiling = matmul_ceiling(device, dtype) if device.type == "cuda" else None
    engine = BatchEngine(
        model,
        eos_id=-1,
        config=EngineConfig(
            executor=ExecutorConfig(
                max_num_batched_tokens=arguments.step_tokens,
                cache_tokens=arguments.cache_tokens,
                fp8_weights=arguments.fp8,
                fp8_cache=arguments.fp8_cache,
            ),
            repetition=NO_GUARD,
        ),
    )
    print(f"model and engine made in {time.perf_counter() - started:.1f} s", flush=True)
    rows = []
    for name in arguments.work:
        work = WORKLOADS[name].scaled(arguments.share)
        patch = model.config.vision.patch_size
        warm = work.scaled(0.1)
        # No page twice: the engine would find what it has computed of it.
        run_workload(engine, warm, draw_pages(warm, f"{name} warm"), tokenizer, patch)
        report = _now_and_then(f"{name}: {{:,}} of {work.pages * work.questions:,} answers")
        measured = run_workload(engine, work, draw_pages(work, name), tokenizer, patch, report)
        rows.append(measured.row(name, work, model.config, ceiling))
        print(json.dumps(rows[-1]), flush=True)
        if arguments.profile:
            short = work.scaled(0.25)
            pages = draw_pages(short, f"{name} profile")
            again = partial(run_workload, engine, short, pages, tokenizer, patch)
            for kernel, seconds in kernel_times(again):
                print(f"{1e3 * seconds / short.pages:9.3f} ms a page  {kernel[:100]}", flush=True)
    print_table(f"{arguments.shape or arguments.model} on {machine(device)}", rows, left=("workload",))
    print_json(
        "engine",
        rows,
        machine=machine(device),
        dtype=str(dtype).removeprefix("torch."),
        fp8=arguments.fp8,
        fp8_cache=arguments.fp8_cache,
        share=arguments.share,
        ceiling_tflops=None if ceiling is None else round(ceiling, 1),
    )


def _now_and_then(line: str) -> Callable[[int], None]:
    """Prints the line with the number that it is called with, at most every REPORT_SECONDS."""
    last = time.perf_counter()

    def report(number: int) -> None:
        nonlocal last
        if time.perf_counter() - last >= REPORT_SECONDS:
            last = time.perf_counter()
            print(line.format(number), file=sys.stderr, flush=True)

    return report
