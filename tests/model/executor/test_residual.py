"""A residual stream that ranks have split among them is the one that each has whole."""

from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")

from model.collectives.all_reduce import CollectiveReducer
from model.collectives.world import World
from model.executor.fused_linear import FusedLinear
from model.executor.residual import Pausing, Residual, SplitResidual, WholeResidual, interleave
from model.kernels.elementwise import Quantized
from tests.model.ranks import Ranks

pytestmark = pytest.mark.processes

_WIDTH, _INNER = 32, 8
T = TypeVar("T")


def done(part: Pausing[T]) -> T:
    [result] = interleave(part)
    return result


def same(one: Tensor | Quantized, other: Tensor | Quantized) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)
    return torch.equal(one.values.float(), other.values.float()) and torch.equal(one.scales, other.scales)


def integers(seed: int, *shape: int) -> Tensor:
    """Whose sums are the same in any order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).float()


@torch.inference_mode()
def compare(world: World, tokens: int, rows: list[int] | None) -> list[bool]:
    """Norms of both streams, while products are added to them; then of some rows, which are whole again."""
    norm = nn.RMSNorm(_WIDTH, eps=1e-5)
    norm.weight.copy_(integers(1, _WIDTH))
    linear = FusedLinear(integers(2 + world.rank, _WIDTH, _INNER))
    reducer = CollectiveReducer(world.all_reduce)
    x_TD = integers(0, tokens, _WIDTH)
    streams: list[Residual] = [
        WholeResidual(x_TD.clone(), reducer),
        SplitResidual(x_TD.clone(), world, reducer),
    ]
    equal = []

    def add(seed: int, count: int) -> None:
        for stream in streams:
            done(stream.add(linear, integers(seed + world.rank, count, _INNER)))

    for number in range(2):
        equal.append(same(*[done(stream.normed(norm)) for stream in streams]))
        add(100 * (number + 1), tokens)
        equal.append(same(*[done(stream.normed(norm, fp8=True)) for stream in streams]))
        add(100 * (number + 3), tokens)
    equal.append(same(*[done(stream.normed(norm)) for stream in streams]))
    rows_R = None if rows is None else torch.tensor(rows, dtype=torch.int32)
    streams = [stream.whole(rows_R) for stream in streams]
    add(1000, tokens if rows is None else len(rows))
    equal.append(same(*[done(stream.normed(norm)) for stream in streams]))
    return equal


@pytest.mark.parametrize(
    ("tokens", "rows"), [(8, [1, 7]), (5, [4, 0, 2]), (5, None), (1, [0]), (3, [])], ids=str
)
def test_a_split_stream_is_the_whole_one_to_the_last_bit(
    ranks: Ranks, tokens: int, rows: list[int] | None
) -> None:
    """Also where tokens do not share out evenly, and where some ranks have none."""
    assert ranks(compare, tokens, rows) == [[True] * 6] * len(ranks.processes)
