"""Two GPUs' parts add up, whatever one of them waits for; other sums are in `test_lockstep`."""

import random

import pytest
import torch

from model.collectives.all_reduce import Coming, Pair, make_sums
from model.collectives.world import World
from tests.model.ranks import Ranks

pytestmark = pytest.mark.processes

_ROWS, _WIDTH, _STEPS = 300, 64, 60


def part(rank: int, number: int, rows: int) -> torch.Tensor:
    """What a rank adds to the sum of this number."""
    generator = torch.Generator("cuda").manual_seed(2 * number + rank)
    return torch.randn(rows, _WIDTH, generator=generator, device="cuda")


@torch.inference_mode()
def add_up(world: World) -> int:
    """Steps in halves and whole, on a rank that is late now and then: how many sums were wrong."""
    sums = make_sums(world, _ROWS, torch.empty(_WIDTH, device=world.device))
    assert isinstance(sums, Pair)
    steps, delays = random.Random(0), random.Random(world.rank)
    wrong = torch.zeros((), dtype=torch.int64, device=world.device)
    number = 0
    for _ in range(_STEPS):
        lanes, count = steps.choice((1, 2)), 2 * steps.randrange(4)
        world.sum(torch.zeros(1, device=world.device)).wait()  # as of embeddings
        sums.restart(hidden=lanes == 2)
        coming = []
        for _ in range(count * lanes):
            rows = steps.randrange(1, _ROWS)
            torch.cuda._sleep(delays.choice((0, 0, 1_000_000)))
            place_TD = sums.place(rows)
            place_TD.copy_(part(world.rank, number, rows))
            coming.append((number, rows, sums.begin(place_TD)))
            number += 1
            if len(coming) == lanes:
                wrong += check(*coming.pop(0), delays)
        for one in coming:
            wrong += check(*one, delays)
    return int(wrong)


def check(number: int, rows: int, coming: Coming, delays: random.Random) -> torch.Tensor:
    own_TD, other_TD = coming.wait()
    torch.cuda._sleep(delays.choice((0, 0, 1_000_000)))
    expected_TD = part(0, number, rows) + part(1, number, rows)
    return (own_TD + other_TD != expected_TD).any().long()


@pytest.mark.gpu
def test_two_gpus_read_each_others_parts() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device")
    ranks = Ranks(2, kind="cuda")
    try:
        assert ranks(add_up) == [0, 0]
    finally:
        ranks.close()
