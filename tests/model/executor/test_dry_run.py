"""The cache leaves what the largest steps take, even where other processes leave little; mostly on a GPU."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")

from model.collectives.world import World
from model.config import PixtralConfig
from model.engine.config import EngineConfig
from model.engine.engine import BatchEngine
from model.engine.request import Branch, Completion, Group
from model.engine.sampling_params import SamplingParams
from model.executor.dry_run import _encoded
from model.executor.factory import GPU_ENCODE_PATCHES, ExecutorConfig
from model.network.image_grid import grid
from model.network.pixtral import Pixtral
from model.parallel.lockstep import TensorParallelExecutor, follow
from model.parallel.tensor_parallel import empty_shard
from tests.model.ranks import Ranks
from tests.model.tiny import CONFIG, VISION

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
STEP = 16384
# Wide as Pixtral-Large is, with few layers.
WIDE = replace(
    CONFIG,
    dim=12288,
    hidden_dim=28672,
    n_heads=96,
    n_kv_heads=8,
    head_dim=128,
    n_layers=2,
    vocab_size=32768,
    vision=replace(
        VISION,
        hidden_size=1024,
        intermediate_size=4096,
        num_attention_heads=16,
        num_hidden_layers=2,
        image_size=1024,
        patch_size=16,
    ),
)
# What each of four ranks has of Pixtral-Large, all layers of it: 61 GiB, and the whole encoder.
QUARTER = replace(
    WIDE,
    hidden_dim=28672 // 4,
    n_heads=96 // 4,
    n_kv_heads=8 // 4,
    n_layers=88,
    vision=replace(WIDE.vision, hidden_size=1664, intermediate_size=8192, num_hidden_layers=48),
)


def group(number: int, side: int, words: int) -> Group:
    """A page and a long text, no two alike."""
    numbers = np.random.default_rng(number)
    rows, columns = grid(side, side, max_side=1024, patch_size=16)
    image = ([10] * columns + [12]) * rows
    image[-1] = 13
    text = numbers.integers(100, 30_000, words).tolist()
    branches = [
        Branch(
            id=f"{number}/{branch}",
            ids=numbers.integers(100, 30_000, 80).tolist(),
            max_new_tokens=4,
            sampling=SamplingParams(ignore_eos=True),
        )
        for branch in range(8)
    ]
    pixels = numbers.integers(0, 256, (side, side, 3), np.uint8)
    return Group(
        id=str(number), prefix_ids=[1, 3, *image, *text], images=[pixels], branches=branches, max_side=1024
    )


@dataclass(frozen=True)
class RankZero:
    """Of a world whose ranks encode images of equal shares; of what they exchange only the sizes are true."""

    size: int
    rank: int = 0

    def scatter(self, mine: Tensor, all_N: Tensor | None) -> Tensor:
        assert all_N is not None, "rank 0 has all pixels"
        return mine

    def gather(self, mine: Tensor) -> Tensor:
        return mine.new_empty(self.size, *mine.shape)


@pytest.mark.parametrize("size", [2, 4])
def test_rank_0_of_pixtral_large_leaves_room_for_the_features_of_all_ranks(size: int) -> None:
    """On meta. It gathers what the engine has them encode at once, and counted its own share alone."""
    dtype = torch.bfloat16
    norm = SimpleNamespace(weight=torch.empty(WIDE.dim, dtype=dtype, device="meta"))

    def encode(images: Sequence[Tensor]) -> Tensor:
        patches = sum(image[0].numel() // WIDE.vision.patch_size**2 for image in images)
        return torch.empty(patches, WIDE.dim, dtype=dtype, device="meta")

    model = SimpleNamespace(config=WIDE, norm=norm)
    fused: Any = SimpleNamespace(model=model, encode=encode)
    world: Any = RankZero(size)
    features_PD = _encoded(fused, GPU_ENCODE_PATCHES, world)
    assert features_PD is not None
    assert features_PD.shape == (
        size * GPU_ENCODE_PATCHES + 4096,
        12288,
    )  # and a page, since shares are unequal


def filled(model: Pixtral) -> Pixtral:
    """A model on meta with random weights, on the GPU."""
    model = model.to(torch.bfloat16).to_empty(device=DEVICE).requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        parameter.fill_(1.0) if parameter.dim() == 1 else parameter.normal_(std=0.02)
    return model.eval()


def answer_pages(model: Pixtral, left: int | None, world: World | None) -> tuple[list[str], int]:
    """Errors and the number of answers, of an engine that had so many GiB of its GPU left."""
    free, _ = torch.cuda.mem_get_info()
    gone = 0 if left is None else free - (left << 30)
    taken = torch.empty(gone, dtype=torch.uint8, device=model.norm.weight.device)  # another process
    config = EngineConfig(executor=ExecutorConfig(max_num_batched_tokens=STEP))
    if world is not None and world.rank:
        follow(model, world, config.executor)
        return [], 0
    leader = None if world is None else TensorParallelExecutor(model, world, config.executor)
    engine = BatchEngine(model, eos_id=-1, config=config, executor=leader)
    free, _ = torch.cuda.mem_get_info()
    print(f"{left} GiB left: {engine._cache_tokens:,} tokens in the cache, {free >> 20} MiB free")
    for number in range(24):
        engine.submit(group(number, 1024, 2_000 + 300 * number))
    done: list[Completion] = []
    while engine.pending:
        done += engine.step()
    free, _ = torch.cuda.mem_get_info()
    print(f"afterwards {free >> 20} MiB free, {engine.preemptions} preemptions")
    if leader is not None:
        leader.stop()
    del taken
    return [one.error for one in done if one.error], len(done)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("config", "left"),
    [(WIDE, 6), (WIDE, 20), (QUARTER, None)],
    ids=["6 GiB left", "20 GiB left", "a quarter"],
)
def test_the_largest_steps_fit_beside_the_cache(config: PixtralConfig, left: int | None) -> None:
    gc.collect()  # the engine of the test before, whose memory these weights must not split
    torch.cuda.empty_cache()
    if config is QUARTER and torch.cuda.mem_get_info()[0] < 100 << 30:
        pytest.skip("a rank's part of Pixtral-Large needs a GPU of 100 GiB")
    assert answer_pages(filled(Pixtral.on_meta(config)), left, None) == ([], 24 * 8)


def answer_pages_together(world: World, left: int) -> tuple[list[str], int]:
    return answer_pages(filled(empty_shard(WIDE, world, torch.bfloat16)), left, world)


@pytest.mark.gpu
@pytest.mark.processes
@pytest.mark.parametrize("left", [12, 24], ids=lambda gib: f"{gib} GiB left")
def test_the_largest_steps_of_two_ranks_fit_beside_their_caches(left: int) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device")
    gc.collect()
    torch.cuda.empty_cache()
    ranks = Ranks(2, kind="cuda")
    try:
        assert ranks(answer_pages_together, left) == [([], 24 * 8), ([], 0)]
    finally:
        ranks.close()
