"""The ranks' parts add up, each way, whatever a rank waits for; a model's sums are in `test_lockstep`."""

import logging
import random
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from model.collectives.all_reduce import (
    TWO_SHOT_BYTES,
    CollectiveReducer,
    PeerReducer,
    PendingSum,
    Reducer,
    TwoShotReducer,
    make_reducer,
    two_shot_reducer,
)
from model.collectives.world import World
from tests.model.collectives.two_shot import stood_in
from tests.model.ranks import Ranks

pytestmark = pytest.mark.processes

_ROWS, _WIDTH, _STEPS = 300, 64, 100
_SHORT = 150  # rows of the longest sum that the kernel computes in these tests; NCCL computes longer ones


class OnGPU:
    """What a reducer asks of a weight on a GPU."""

    is_cuda, device = True, torch.device("cpu")

    def __init__(self, dtype: torch.dtype, width: int) -> None:
        self.dtype, self.itemsize, self._width = dtype, dtype.itemsize, width

    def __len__(self) -> int:
        return self._width


def chosen(world: World, dtype: torch.dtype, width: int, lacking: int | None) -> tuple[str, int, list[str]]:
    """The reducer that is made, rows of its memory, and warnings; rank `lacking` has no memory to share."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]  # of one
    logger = logging.getLogger("model.collectives.all_reduce")
    logger.addHandler(handler)
    like: Any = OnGPU(dtype, width)
    try:
        with stood_in():
            if world.rank == lacking:
                failing = patch(
                    "model.collectives.all_reduce.symmetric_memory.empty",
                    side_effect=RuntimeError("no peer\nC++ frames"),
                )
                with failing:
                    reducer = make_reducer(world, 16384, like)
            else:
                reducer = make_reducer(world, 16384, like)
    finally:
        logger.removeHandler(handler)
    rows = len(reducer._own_TD) if isinstance(reducer, TwoShotReducer) else 0
    return type(reducer).__name__, rows, said


@pytest.mark.parametrize("ranks", [4], indirect=True)
@pytest.mark.parametrize(
    ("dtype", "width", "name", "rows"),
    [
        (torch.bfloat16, 5120, "TwoShotReducer", 1024),
        (torch.bfloat16, 12288, "TwoShotReducer", 426),
        (torch.float32, 5120, "TwoShotReducer", 512),
        (torch.bfloat16, 64, "TwoShotReducer", 16384),
        (torch.float16, 5120, "CollectiveReducer", 0),  # the kernel does not know it
    ],
)
def test_four_gpus_have_memory_for_sums_of_ten_mebibytes(
    ranks: Ranks, dtype: torch.dtype, width: int, name: str, rows: int
) -> None:
    assert ranks(chosen, dtype, width, None) == [(name, rows, [])] * 4
    assert rows * width * dtype.itemsize <= TWO_SHOT_BYTES


def test_where_one_rank_has_no_such_memory_all_sum_up_plainly_and_one_says_so(ranks: Ranks) -> None:
    size = len(ranks.processes)
    found = ranks(chosen, torch.bfloat16, 5120, size - 1)
    assert [name for name, _, _ in found] == ["CollectiveReducer"] * size
    sentence = "the GPUs cannot read each other's memory (no peer): NCCL sums up instead"
    assert [said for _, _, said in found] == [[sentence]] + [[]] * (size - 1)


def sums(world: World, rows: int, overlapped: bool) -> tuple[bool, bool]:
    """Whether this rank's part belongs into the reducer's memory; whether the sum is right."""
    like: Any = OnGPU(torch.float32, _WIDTH)
    with stood_in():
        reducer = two_shot_reducer(world, _ROWS, like, longest=_SHORT * _WIDTH * 4)
        assert reducer is not None
        reducer.start_step(overlapped=overlapped)
        out_TD = reducer.buffer(rows)
        inside = out_TD is not None
        part_TD = torch.full((rows, _WIDTH), float(world.rank + 1))
        [sum_TD] = reducer.begin(part_TD if out_TD is None else out_TD.copy_(part_TD)).wait()
    return inside, bool((sum_TD == sum(range(1, world.size + 1))).all())


@pytest.mark.parametrize(
    ("rows", "overlapped", "inside"),
    [(1, False, True), (_SHORT, False, True), (_SHORT + 1, False, False), (1, True, False)],
)
def test_long_sums_and_those_of_micro_batches_are_plain(
    ranks: Ranks, rows: int, overlapped: bool, inside: bool
) -> None:
    assert ranks(sums, rows, overlapped) == [(inside, True)] * len(ranks.processes)


def part(rank: int, number: int, rows: int, dtype: torch.dtype) -> torch.Tensor:
    """What a rank adds to the sum of this number: integers, whose sum is exact in any order."""
    generator = torch.Generator("cuda").manual_seed(8 * number + rank)
    return torch.randint(-9, 10, (rows, _WIDTH), generator=generator, device="cuda").to(dtype)


def make(world: World, way: str, dtype: torch.dtype) -> Reducer:
    like_D = torch.empty(_WIDTH, dtype=dtype, device=world.device)
    if way == "two shot":
        reducer = two_shot_reducer(world, _ROWS, like_D, longest=_SHORT * _WIDTH * like_D.itemsize)
        assert reducer is not None
        return reducer
    chosen = make_reducer(world, _ROWS, like_D)
    assert isinstance(chosen, PeerReducer if world.size == 2 else TwoShotReducer)
    return chosen


@torch.inference_mode()
def add_up(world: World, way: str, dtype: torch.dtype) -> int:
    """Steps in micro-batches and whole, on a rank that is late now and then: how many sums were wrong."""
    reducer = make(world, way, dtype)
    steps, delays = random.Random(0), random.Random(world.rank)
    wrong = torch.zeros((), dtype=torch.int64, device=world.device)
    number = 0
    for _ in range(_STEPS):
        lanes, count = steps.choice((1, 2)), 2 * steps.randrange(4)
        world.all_reduce(torch.zeros(1, device=world.device)).wait()  # as of embeddings
        reducer.start_step(overlapped=lanes == 2)
        coming = []
        for _ in range(count * lanes):
            rows = steps.randrange(1, _ROWS)
            late(delays)
            own_TD = part(world.rank, number, rows, dtype)
            buffer_TD = reducer.buffer(rows)
            if buffer_TD is not None:
                own_TD = buffer_TD.copy_(own_TD)
            coming.append((number, rows, reducer.begin(own_TD)))
            number += 1
            if len(coming) == lanes:
                wrong += check(world, *coming.pop(0), dtype, delays)
        for one in coming:
            wrong += check(world, *one, dtype, delays)
    return int(wrong)


def late(delays: random.Random) -> None:
    torch.cuda._sleep(delays.choice((0, 0, 1_000_000)))


def check(
    world: World, number: int, rows: int, coming: PendingSum, dtype: torch.dtype, delays: random.Random
) -> torch.Tensor:
    parts = coming.wait()
    late(delays)
    found_TD = torch.stack(parts).sum(0)
    expected_TD = torch.stack([part(rank, number, rows, dtype) for rank in range(world.size)]).sum(0)
    return (found_TD != expected_TD).any().long()


@torch.inference_mode()
def replay(world: World) -> int:
    """A graph of 40 sums of changing parts, replayed by ranks that are late now and then: wrong sums."""
    reducer = make(world, "two shot", torch.bfloat16)
    delays = random.Random(world.rank)
    rows = _SHORT
    step = torch.zeros(1, device=world.device)
    found_NTD = torch.zeros(40, rows, _WIDTH, dtype=torch.bfloat16, device=world.device)

    def compute() -> None:
        reducer.start_step(overlapped=False)
        for number in range(40):
            buffer_TD = reducer.buffer(rows)
            assert buffer_TD is not None
            buffer_TD.fill_(number + world.rank).add_(step)
            [sum_TD] = reducer.begin(buffer_TD).wait()
            found_NTD[number] = sum_TD

    compute()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        compute()
    of_ranks = sum(range(world.size))
    numbers_N11 = torch.arange(40, device=world.device)[:, None, None]
    wrong = torch.zeros((), dtype=torch.int64, device=world.device)
    for number in range(_STEPS):
        late(delays)
        step.fill_(number % 16)
        world.all_reduce(torch.zeros(1, device=world.device)).wait()
        graph.replay()
        expected_N11 = (world.size * (numbers_N11 + number % 16) + of_ranks).to(torch.bfloat16)
        wrong += (found_NTD != expected_N11).flatten(1).any(1).sum()
    return int(wrong)


@torch.inference_mode()
def farthest(world: World, rows: int) -> float:
    """From NCCL's sums of the same numbers, in units of what one rounding to bfloat16 may change."""
    reducer = make(world, "two shot", torch.bfloat16)
    generator = torch.Generator("cuda").manual_seed(world.rank)
    own_TD = torch.randn(rows, _WIDTH, generator=generator, device="cuda").to(torch.bfloat16)
    buffer_TD = reducer.buffer(rows)
    assert buffer_TD is not None
    [sum_TD] = reducer.begin(buffer_TD.copy_(own_TD)).wait()
    [expected_TD] = CollectiveReducer(world.all_reduce).begin(own_TD.clone()).wait()
    parts_NTD = torch.stack(world.all_gather(own_TD)).float()
    rounding_TD = parts_NTD.abs().sum(0) * 2**-8  # half of the last of 8 bits
    return float(((sum_TD.float() - expected_TD.float()).abs() / rounding_TD.clamp(min=1e-6)).max())


def endless(world: World, begun: Path) -> None:
    """Sums until the world ends; once there were some, the file is there."""
    reducer = make(world, "two shot", torch.bfloat16)
    while True:
        for _ in range(100):
            buffer_TD = reducer.buffer(64)
            assert buffer_TD is not None
            reducer.begin(buffer_TD)
        torch.cuda.synchronize()
        begun.touch()


def gpus(size: int) -> Ranks:
    if torch.cuda.device_count() < size:
        pytest.skip(f"{torch.cuda.device_count()} CUDA devices, and {size} are needed")
    return Ranks(size, kind="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("size", "way"), [(2, "default"), (2, "two shot"), (4, "default"), (4, "two shot")])
def test_gpus_add_up_right_however_late_one_is(size: int, way: str, dtype: torch.dtype) -> None:
    ranks = gpus(size)
    try:
        assert ranks(add_up, way, dtype) == [0] * size
    finally:
        ranks.close()


@pytest.mark.gpu
@pytest.mark.parametrize("size", [2, 4])
def test_a_graph_of_sums_is_replayed_right_and_sums_are_nccls_but_for_rounding(size: int) -> None:
    ranks = gpus(size)
    try:
        assert ranks(replay) == [0] * size
        for rows in (1, 17, _SHORT):
            found = ranks(farthest, rows)
            print(f"{size} GPUs, {rows} rows: {max(found):.2f} roundings from NCCL's sum")
            assert max(found) <= 2 * (size - 1), "either way rounds at each addition"
    finally:
        ranks.close()


@pytest.mark.gpu
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_that_wait_for_a_dead_one_can_be_ended_and_the_next_ones_add_up(
    size: int, how: signal.Signals, tmp_path: Path
) -> None:
    """A kernel that waits holds its GPU until whoever started the ranks ends them."""
    ranks = gpus(size)
    try:
        ranks.start(endless, tmp_path / "begun")
        while not (tmp_path / "begun").exists():
            assert all(process.is_alive() for process in ranks.processes)
            time.sleep(0.1)
        ranks.signal(1, how)
        time.sleep(1.0)
        assert ranks.processes[0].is_alive(), "it waits"
    finally:
        stopped = time.monotonic()
        ranks.close()
    took = time.monotonic() - stopped
    print(f"{size} GPUs, one rank {how.name}: all ended within {took:.1f} s")
    assert took < 20
    ranks = gpus(size)
    try:
        assert ranks(add_up, "two shot", torch.bfloat16) == [0] * size
    finally:
        ranks.close()
