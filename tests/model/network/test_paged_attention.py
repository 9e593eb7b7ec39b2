"""Attention over blocks in any order equals attention over what they hold."""

import numpy as np
import torch

from model.cache.batch import Batch
from model.cache.paged_cache import PagedCache
from model.cache.plan import Chunk
from model.network.attention import softmax_attention
from model.network.paged_attention import PagedAttention

SIZE = 4
# A decoding sequence, one that goes on after 5 tokens, one that begins, and one that nobody reads yet.
CHUNKS = [
    Chunk("decodes", 9, 1, (7, 2, 5), True),
    Chunk("goes on", 5, 6, (1, 9, 8), True),
    Chunk("begins", 0, 3, (3,), True),
    Chunk("is not read", 4, 4, (0, 6), False),
    Chunk("lies in a row", 14, 2, (11, 12, 13, 14), True),
]


def batch(chunks: list[Chunk]) -> Batch:
    ids = np.zeros(sum(chunk.count for chunk in chunks), np.int32)
    return Batch(chunks, ids, np.zeros((0, 2), np.int32), None, ())


def test_every_sequence_attends_to_its_own_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    cache = PagedCache(
        layers=3, blocks=15, size=SIZE, heads=2, width=8, like=torch.empty(0, dtype=torch.float64)
    )
    cache.k_LCSGH.fill_(torch.nan)
    cache.v_LCSGH.fill_(torch.nan)
    total = sum(chunk.count for chunk in CHUNKS)
    q, k, v = (torch.randn(total, heads, 8, generator=generator, dtype=torch.float64) for heads in (6, 2, 2))
    whole, first = {}, 0
    for chunk in CHUNKS:
        past_k, past_v = (
            torch.randn(chunk.start, 2, 8, generator=generator, dtype=torch.float64) for _ in range(2)
        )
        for position in range(chunk.start):
            block, offset = chunk.table[position // SIZE], position % SIZE
            cache.k_LCSGH[1:, block, offset] = past_k[position]
            cache.v_LCSGH[1:, block, offset] = past_v[position]
        rows = slice(first, first + chunk.count)
        whole[chunk.key] = softmax_attention(
            q[rows], torch.cat((past_k, k[rows])), torch.cat((past_v, v[rows])), causal=True
        )
        first += chunk.count
    attend = PagedAttention(cache, batch(CHUNKS))
    torch.testing.assert_close(attend(1, q, k, v), torch.cat([*whole.values()]))
    assert attend.rows_R is not None
    assert attend.rows_R.tolist() == [0, 6, 9, 15]
    sampled = attend(2, q[attend.rows_R], k, v)
    torch.testing.assert_close(
        sampled, torch.stack([whole[chunk.key][-1] for chunk in CHUNKS if chunk.samples])
    )
    assert cache.k_LCSGH[0].isnan().all()


def test_no_rows_are_picked_where_all_sample() -> None:
    cache = PagedCache(layers=1, blocks=15, size=SIZE, heads=2, width=8, like=torch.empty(0))
    assert PagedAttention(cache, batch(CHUNKS[:1])).rows_R is None
