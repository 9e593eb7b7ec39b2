"""Times the sums that ranks which share a model make after each layer's halves, each way, by their rows.

A step is 40 sums, each with the norm that reads it, since one of the ways adds up in the norm. On GPUs a step
is a CUDA graph, as steps that decode are. What is printed is the slowest rank's time of one sum and its norm.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch
from torch import Tensor

from jobs.bench.flags import new_parser
from jobs.bench.models import this_device
from jobs.bench.printing import machine, print_json, print_table
from model.collectives.all_reduce import CollectiveReducer, Reducer, peer_reducer, two_shot_reducer
from model.collectives.world import World, free_address, join

_SUMS = 40  # of a step
_WARM, _STEPS = 3, 20
_TIMEOUT = 120.0  # seconds of a collective


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("sums", __doc__)
    parser.add_argument("--tensor-parallel", type=int, default=2, help="ranks, each on a GPU of its own")
    parser.add_argument("--width", type=int, default=5120, help="numbers of a row")
    parser.add_argument(
        "--rows",
        nargs="+",
        type=int,
        default=[16, 64, 176, 256, 512, 1024, 2048, 4096, 16384],
        help="of a sum, in turns",
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for each number of rows. ValueError where there are too few GPUs, or a rank ends early."""
    device, size = this_device(), arguments.tensor_parallel
    if min(size, arguments.width, *arguments.rows) < 1 or size < 2:
        raise ValueError("--tensor-parallel must be at least 2, --width and --rows at least 1")
    if device.type == "cuda" and torch.cuda.device_count() < size:
        raise ValueError(f"--tensor-parallel {size}: there are {torch.cuda.device_count()} GPUs")
    context = multiprocessing.get_context("spawn")
    address = free_address()
    ours, theirs = context.Pipe()
    processes = [
        context.Process(
            target=_serve,
            args=(rank, size, address, arguments.width, arguments.rows, None if rank else theirs),
            daemon=True,
        )
        for rank in range(size)
    ]
    try:
        for process in processes:
            process.start()
        theirs.close()
        rows = ours.recv()
        for process in processes:
            process.join(timeout=60)
    except EOFError as error:
        raise ValueError("a rank has ended: see what it printed") from error
    finally:
        for process in processes:
            process.kill()
    title = f"microseconds of a sum and its norm, {size} ranks, width {arguments.width}, {machine(device)}"
    print_table(title, rows, left=())
    print_json("sums", rows, machine=machine(device), ranks=size, width=arguments.width)


def _serve(rank: int, size: int, address: str, width: int, rows: list[int], pipe: Connection | None) -> None:
    """One rank. Rank 0 sends the table."""
    torch.set_num_threads(1)
    on_gpu = torch.cuda.is_available()
    world = join(rank, size, address, torch.device("cuda", rank) if on_gpu else torch.device("cpu"), _TIMEOUT)
    like_D = torch.empty(width, dtype=torch.bfloat16 if on_gpu else torch.float32, device=world.device)
    ways = _ways(world, max(rows), like_D)
    table: list[dict[str, object]] = []
    for count in rows:
        row: dict[str, object] = {"rows": count, "KiB": count * width * like_D.itemsize >> 10}
        for name, reducer in ways.items():
            row[name] = _microseconds(world, reducer, count, like_D)
        table.append(row)
    if pipe is not None:
        pipe.send(table)


def _ways(world: World, rows: int, like_D: Tensor) -> dict[str, Reducer]:
    """The reducers of this machine; on GPUs those that read each other's memory, too."""
    ways: dict[str, Reducer | None] = {"all_reduce": CollectiveReducer(world.all_reduce)}
    if like_D.is_cuda:
        ways["two_shot"] = two_shot_reducer(world, rows, like_D, longest=1 << 40)
        if world.size == 2:
            ways["peers"] = peer_reducer(world, rows, like_D)
    return {name: reducer for name, reducer in ways.items() if reducer is not None}


@torch.inference_mode()
def _microseconds(world: World, reducer: Reducer, rows: int, like_D: Tensor) -> float:
    """Of one sum and its norm, on the slowest rank."""
    part_TD = torch.randn(rows, len(like_D), device=world.device).to(like_D.dtype)
    x_TD = torch.zeros_like(part_TD)
    norm = _norm(world.device)
    weight_D = torch.ones_like(like_D)

    def step() -> None:
        # The embeddings' sum, which no rank leaves before the others have ended the step before.
        world.all_reduce(torch.zeros(1, device=world.device)).wait()
        reducer.start_step(overlapped=False)
        for _ in range(_SUMS):
            # A product would write its result there.
            out_TD = reducer.buffer(rows)
            out_TD = part_TD.clone() if out_TD is None else out_TD.copy_(part_TD)
            norm(x_TD, weight_D, reducer.begin(out_TD).wait())

    return round(_seconds(world, _graphed(step) if like_D.is_cuda else step) / _SUMS * 1e6, 1)


def _norm(device: torch.device) -> Callable[[Tensor, Tensor, tuple[Tensor, ...]], object]:
    if device.type == "cuda":
        from model.kernels.elementwise import rms_norm  # Triton, which torch brings for GPUs alone

        return lambda x_TD, weight_D, addends: rms_norm(x_TD, weight_D, 1e-5, add=addends)

    def plain(x_TD: Tensor, weight_D: Tensor, addends: tuple[Tensor, ...]) -> Tensor:
        for addend_TD in addends:
            x_TD += addend_TD
        return torch.nn.functional.rms_norm(x_TD, (len(weight_D),), weight_D, 1e-5)

    return plain


def _graphed(step: Callable[[], None]) -> Callable[[], None]:
    step()  # compiles kernels, and NCCL connects
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
    return graph.replay


def _seconds(world: World, step: Callable[[], None]) -> float:
    """Of one step, on the slowest rank."""
    for _ in range(_WARM):
        step()
    world.barrier()
    if world.device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(_STEPS):
        step()
    if world.device.type == "cuda":
        torch.cuda.synchronize()
    took = (time.perf_counter() - began) / _STEPS
    return -world.minimum(-round(took * 1e9)) / 1e9
