"""Runs W1's pages through one model over several GPUs, and through several copies, against one GPU.

A copy of the model lies on one GPU, or is shared out among several ranks. Each rank is a process of its own,
and rank 0 of each copy runs the engine; Ray is not needed. All copies work at the same time, each on pages of
its own.
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from jobs.bench.flags import add_computing, add_model, add_share, check_share, new_parser
from jobs.bench.gpu import kernel_times
from jobs.bench.models import DTYPES, SHAPES, fill, this_device, tokenizer_file
from jobs.bench.printing import machine, print_json, print_table
from jobs.bench.workloads import NO_GUARD, WORKLOADS, Workload, draw_pages, run_workload
from model.checkpoint import default_dtype, load_model
from model.checkpoint_files import load_config
from model.collectives.world import World, free_address, join
from model.config import PixtralConfig, check_tensor_parallel_size
from model.engine.config import EngineConfig
from model.engine.engine import BatchEngine
from model.executor.factory import ExecutorConfig
from model.network.pixtral import Pixtral
from model.parallel.lockstep import TensorParallelExecutor, follow
from model.text.tokenizer import Tokenizer

_TIMEOUT = 600.0  # seconds of a collective: the others wait while rank 0 draws its pages
_LONG, _SHORT = 65, 1  # tokens of answers: the time of long ones less that of short ones is decoding
_MOST = 32  # pages of which decoding is measured: all fit in the cache at a time


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("parallel", __doc__)
    add_model(parser)
    parser.add_argument(
        "--tensor-parallel", nargs="+", type=int, default=[1, 2], help="GPUs that share a model, in turns"
    )
    parser.add_argument(
        "--replicas", nargs="*", type=int, default=[2], help="copies on one GPU each, in turns; may be none"
    )
    add_share(parser, help="run this share of W1's pages, each copy")
    add_computing(parser)
    parser.add_argument(
        "--overlap",
        type=int,
        metavar="TOKENS",
        help="compute steps of so many tokens in two halves, each while the other's sums are under way (GPU)",
    )
    parser.add_argument(
        "--split",
        type=int,
        metavar="TOKENS",
        help="split the residual stream of steps of so many tokens among the GPUs that share the model: each "
        "computes the norms of its share (GPU)",
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for one copy over each number of GPUs, then for each number of copies."""
    device = this_device()
    check_share(arguments.share)
    config = SHAPES[arguments.shape] if arguments.shape else load_config(arguments.model)
    setup = Setup(
        model=config if arguments.shape else arguments.model,
        tokenizer=tokenizer_file(arguments.model, arguments.shape),
        dtype=default_dtype(device) if arguments.dtype is None else DTYPES[arguments.dtype],
        share=arguments.share,
        fp8=arguments.fp8,
        overlap=arguments.overlap,
        split=arguments.split,
    )
    _ = setup.engine  # a mistake in the flags is said before any process loads a model
    rows: list[dict[str, object]] = []
    first = None
    for copies, ranks in layouts(config, arguments.tensor_parallel, arguments.replicas):
        row = measure(setup, copies, ranks)
        speed = row["pages_per_second"] / (copies * ranks)
        first = first or speed
        row["of_the_first_per_gpu"] = round(speed / first, 3)
        rows.append(row)
        print(json.dumps(row), flush=True)
    print_table(f"{arguments.shape or arguments.model} on {machine(device)}", rows, left=())
    print_json(
        "parallel",
        rows,
        machine=machine(device),
        share=arguments.share,
        fp8=arguments.fp8,
        overlap=arguments.overlap,
        split=arguments.split,
    )


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The model of every copy, and its engine."""

    model: Path | PixtralConfig
    """A checkpoint, or a shape for random weights."""
    tokenizer: Path
    dtype: torch.dtype
    share: float
    """Of the workload's pages, for each copy."""
    fp8: bool
    overlap: int | None
    split: int | None

    @property
    def engine(self) -> EngineConfig:
        return EngineConfig(
            executor=ExecutorConfig(fp8_weights=self.fp8, overlap=self.overlap, split=self.split),
            repetition=NO_GUARD,
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which rank of which copy a process is."""

    copy: int
    rank: int
    ranks: int
    address: str

    @property
    def device(self) -> torch.device:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", self.copy * self.ranks + self.rank)


def layouts(config: PixtralConfig, tensor_parallel: list[int], replicas: list[int]) -> list[tuple[int, int]]:
    """Copies and ranks of each measurement: one copy of each size, then several of one rank.

    ValueError where the model cannot be cut so, or the GPUs are too few.
    """
    found = [(1, ranks) for ranks in sorted(set(tensor_parallel))]
    found += [(copies, 1) for copies in sorted(set(replicas)) if (copies, 1) not in found]
    gpus = torch.cuda.device_count()
    for copies, ranks in found:
        check_tensor_parallel_size(config, ranks)
        if copies < 1:
            raise ValueError(f"--replicas {copies}: it must be at least 1")
        if gpus and copies * ranks > gpus:
            raise ValueError(f"{copies} copies of {ranks} GPUs are asked for, and there are {gpus} GPUs")
    return found


def measure(setup: Setup, copies: int, ranks: int) -> dict[str, Any]:
    """The row of `copies` copies of `ranks` ranks. ValueError if one of their processes ends early."""
    with _started(setup, copies, ranks) as leaders:
        work = WORKLOADS["W1"].scaled(setup.share)
        few = replace(work, pages=min(work.pages, _MOST))
        done = {}
        for name, one in (
            ("warm", replace(few, tokens=2)),
            ("W1", work),
            ("prompts", replace(few, tokens=_SHORT)),
            ("answers", replace(few, tokens=_LONG)),
        ):
            done[name] = _all(leaders, "run", one, name)
        shares = _all(leaders, "collectives", replace(few, pages=min(few.pages, 8)), "profile")
    seconds = {name: max(took for took, _ in answers) for name, answers in done.items()}
    prompt = done["W1"][0][1]
    pages = copies * few.pages
    return {
        "tensor_parallel": ranks,
        "replicas": copies,
        "pages_per_second": round(copies * work.pages / seconds["W1"], 3),
        "prefill_tokens_per_second": round(pages * prompt / seconds["prompts"]),
        "decode_tokens_per_second": round(
            pages * (_LONG - _SHORT) / max(1e-9, seconds["answers"] - seconds["prompts"])
        ),
        "in_collectives": None if shares[0] is None else round(max(shares), 3),
    }


@contextmanager
def _started(setup: Setup, copies: int, ranks: int) -> Iterator[list[Connection]]:
    """The pipes to the copies' first ranks. The processes end with the block."""
    context = multiprocessing.get_context("spawn")
    leaders, processes = [], []
    try:
        for copy in range(copies):
            address = free_address()
            for rank in range(ranks):
                ours, theirs = context.Pipe()
                place = Place(copy=copy, rank=rank, ranks=ranks, address=address)
                threads = max(1, torch.get_num_threads() // (copies * ranks))
                process = context.Process(target=_serve, args=(setup, place, threads, theirs), daemon=True)
                process.start()
                processes.append(process)
                theirs.close()
                if not rank:
                    leaders.append(ours)
        yield leaders
        for pipe in leaders:
            pipe.send(None)
        for process in processes:
            process.join(timeout=60)
    finally:
        for process in processes:
            process.kill()


def _all(leaders: Sequence[Connection], task: str, work: Workload, name: str) -> list[Any]:
    """The reply of each copy. All begin together."""
    try:
        for pipe in leaders:
            pipe.send((task, work, name))
        for pipe in leaders:
            pipe.recv()  # the pages are drawn
        for pipe in leaders:
            pipe.send(None)
        return [pipe.recv() for pipe in leaders]
    except (EOFError, ConnectionError) as error:
        raise ValueError("a process with a part of the model has ended: see what it printed") from error


def _serve(setup: Setup, place: Place, threads: int, pipe: Connection) -> None:
    """One rank, from its weights to its end."""
    torch.set_num_threads(threads)
    world = None
    if place.ranks > 1:
        world = join(place.rank, place.ranks, place.address, place.device, _TIMEOUT)
    elif place.device.type == "cuda":
        torch.cuda.set_device(place.device)
    model = _make_model(setup, place, world)
    if world is not None and place.rank:
        follow(model, world, setup.engine.executor)
        return
    leader = None if world is None else TensorParallelExecutor(model, world, setup.engine.executor)
    engine = BatchEngine(model, eos_id=-1, config=setup.engine, executor=leader)
    tokenizer = Tokenizer.from_file(setup.tokenizer)
    patch = model.config.vision.patch_size
    while (asked := pipe.recv()) is not None:
        task, work, name = asked
        pages = draw_pages(work, f"{name} {place.copy}")
        pipe.send(None)
        pipe.recv()
        go = partial(run_workload, engine, work, pages, tokenizer, patch)
        if task == "run":
            measured = go()
            pipe.send((measured.seconds, measured.completions[0].prompt_tokens))
        else:
            pipe.send(_collectives(go) if place.device.type == "cuda" else None)
    if leader is not None:
        leader.stop()


def _make_model(setup: Setup, place: Place, world: World | None) -> Pixtral:
    if world is None:
        if isinstance(setup.model, Path):
            return load_model(setup.model, device=place.device, dtype=setup.dtype)
        model = Pixtral.on_meta(setup.model)
    else:
        # Only here: it imports DeepSpeed, which one rank does without.
        from model.parallel.tensor_parallel import empty_shard, load_shard

        if isinstance(setup.model, Path):
            return load_shard(setup.model, world, setup.dtype)
        model = empty_shard(setup.model, world, setup.dtype)
    return fill(model, device=place.device, dtype=setup.dtype)


def _collectives(work: Callable[[], object]) -> float:
    """The share of a GPU's busy time in which it exchanges with the others, or waits for them to begin."""
    times = kernel_times(work)
    busy = sum(seconds for name, seconds in times if name != "nothing")
    # Two ranks read each other's part inside the norms' kernels, which therefore count as computing.
    exchanging = ("nccl", "signal", "all_reduce")
    return sum(seconds for name, seconds in times if any(word in name.lower() for word in exchanging)) / busy
