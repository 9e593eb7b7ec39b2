"""Split attention equals plain attention: on a GPU if there is one, else interpreted."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")

from model.cache.batch import slot_mapping
from model.cache.plan import Chunk
from model.executor.split_kv import divide
from model.kernels.elementwise import (
    FP8,
)
from model.kernels.split_attention import AttentionWork, split_attention
from model.network.attention import softmax_attention
from tests.model.kernels.tensors import DEVICE, QUERIES, SIZE, WIDTH, by_slots, cache, random


def on_device(chunks: Sequence[Chunk], size: int) -> AttentionWork[Tensor]:
    work = divide(chunks, size=size, widths=(2, 4), target=6)
    table = np.zeros((len(chunks), max(len(chunk.table) for chunk in chunks)), np.int32)
    for row, chunk in zip(table, chunks, strict=True):
        row[: len(chunk.table)] = chunk.table

    def there(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(DEVICE)

    return AttentionWork(
        table_BM=there(table),
        items=tuple((there(one.tokens_IQ), there(one.places_IQ), there(one.spans_I3)) for one in work.items),
        limits_T=there(work.limits_T),
        places_T2=there(work.places_T2),
        partials=int(work.places_T2[-1, 1]),
    )


@pytest.mark.parametrize("size", [SIZE, 64])
@pytest.mark.parametrize("dtype", [torch.float32, FP8])
def test_split_attention_is_softmax_attention_over_each_sequences_blocks(
    dtype: torch.dtype, size: int
) -> None:
    """Branches of a page that decode, a question on it, a sequence of its own, and one that begins."""
    page = tuple(range(9))
    chunks = [
        Chunk("decodes", 9 * size, 1, (*page, 9), True),
        Chunk("asks", 8 * size + 1, size + 1, (*page[:8], 20, 21), True),
        Chunk("has its own page", 7 * size + 2, 1, tuple(range(22, 30)), True),
        Chunk("decodes too", 9 * size, 1, (*page, 31), True),
        Chunk("begins", 0, 3, (33,), True),
    ]
    layer = cache(dtype, size)
    layer.k_CGH.copy_(random(*layer.k_CGH.shape).to(dtype))
    layer.v_CGH.copy_(random(*layer.v_CGH.shape, seed=1).to(dtype))
    layer.k_scales_CGS.copy_(1 + random(*layer.k_scales_CGS.shape, seed=2).abs())
    layer.v_scales_CGS.copy_(1 + random(*layer.v_scales_CGS.shape, seed=3).abs())
    k, v = layer.k_CGH.float(), layer.v_CGH.float()
    if dtype == FP8:
        k, v = k * by_slots(layer.k_scales_CGS), v * by_slots(layer.v_scales_CGS)
    q = random(sum(chunk.count for chunk in chunks), QUERIES, WIDTH, seed=4)
    out = torch.full_like(q, torch.nan)
    split_attention(q, layer, on_device(chunks, size), size, out)
    first = 0
    for chunk in chunks:
        end = first + chunk.count
        where = torch.from_numpy(slot_mapping(chunk, 0, chunk.start + chunk.count, size)).long().to(DEVICE)
        expected = softmax_attention(q[first:end], k[where], v[where], causal=True)
        # The tensor cores are given FP8 as float16.
        relative, absolute = (2e-3, 5e-3) if dtype == FP8 else (1e-5, 1e-5)
        torch.testing.assert_close(out[first:end], expected, rtol=relative, atol=absolute)
        first = end
