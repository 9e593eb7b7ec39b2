"""On a GPU: the cache leaves what the largest steps take, even where other processes leave little."""

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")

from model.engine.config import EngineConfig
from model.engine.engine import BatchEngine
from model.engine.request import Branch, Completion, Group
from model.engine.sampling_params import SamplingParams
from model.executor.factory import ExecutorConfig
from model.network.image_grid import grid
from model.network.pixtral import Pixtral
from tests.model.tiny import CONFIG, VISION

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
STEP = 16384
# Wide as Pixtral-Large is, with a rank's share of its heads and with few layers.
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


@pytest.mark.gpu
@pytest.mark.parametrize("left", [6, 20], ids=lambda gib: f"{gib} GiB left")
def test_the_largest_steps_fit_beside_the_cache(left: int) -> None:
    gc.collect()  # the engine of the test before, whose memory these weights must not split
    torch.cuda.empty_cache()
    with torch.device(DEVICE):
        torch.set_default_dtype(torch.bfloat16)
        try:
            model = Pixtral(WIDE)
        finally:
            torch.set_default_dtype(torch.float32)
    model.requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        parameter.fill_(1.0) if parameter.dim() == 1 else parameter.normal_(std=0.02)
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - (left << 30), dtype=torch.uint8, device=DEVICE)  # another process
    engine = BatchEngine(
        model, eos_id=-1, config=EngineConfig(executor=ExecutorConfig(max_num_batched_tokens=STEP))
    )
    free, _ = torch.cuda.mem_get_info()
    print(f"{left} GiB left: {engine._cache_tokens:,} tokens in the cache, {free >> 20} MiB free")
    for number in range(24):
        engine.submit(group(number, 1024, 2_000 + 300 * number))
    done: list[Completion] = []
    while engine.pending:
        done += engine.step()
    assert [one.error for one in done if one.error] == []
    assert len(done) == 24 * 8
    free, _ = torch.cuda.mem_get_info()
    print(f"afterwards {free >> 20} MiB free, {engine.preemptions} preemptions")
    del taken
