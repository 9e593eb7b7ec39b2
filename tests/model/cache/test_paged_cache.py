"""Attention over blocks in any order equals attention over what they hold."""

import numpy as np
import pytest
import torch

from model.cache.batch import Batch
from model.cache.paged_cache import PagedCache, Pages, cache_tokens
from model.cache.plan import Chunk
from model.network.attention import softmax_attention
from tests.model.tiny import CONFIG

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
        layers=2, blocks=15, size=SIZE, heads=2, width=8, like=torch.empty(0, dtype=torch.float64)
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
            cache.k_LCSGH[1, block, offset] = past_k[position]
            cache.v_LCSGH[1, block, offset] = past_v[position]
        rows = slice(first, first + chunk.count)
        whole[chunk.key] = softmax_attention(
            q[rows], torch.cat((past_k, k[rows])), torch.cat((past_v, v[rows])), causal=True
        )
        first += chunk.count
    pages = Pages(cache, batch(CHUNKS))
    torch.testing.assert_close(pages.attend(1, False, q, k, v), torch.cat([*whole.values()]))
    assert pages.rows_R is not None
    assert pages.rows_R.tolist() == [0, 6, 9, 15]
    sampled = pages.attend(1, True, q[pages.rows_R], k, v)
    torch.testing.assert_close(
        sampled, torch.stack([whole[chunk.key][-1] for chunk in CHUNKS if chunk.samples])
    )
    assert cache.k_LCSGH[0].isnan().all()


def test_no_rows_are_picked_where_all_sample() -> None:
    cache = PagedCache(layers=1, blocks=15, size=SIZE, heads=2, width=8, like=torch.empty(0))
    assert Pages(cache, batch(CHUNKS[:1])).rows_R is None


def test_blocks_are_copied_all_at_once() -> None:
    cache = PagedCache(layers=1, blocks=3, size=1, heads=1, width=1, like=torch.empty(0))
    cache.k_LCSGH[0, :, 0, 0, 0] = torch.tensor([1.0, 2.0, 3.0])
    cache.v_LCSGH[0, :, 0, 0, 0] = torch.tensor([4.0, 5.0, 6.0])
    cache.copy([(0, 1), (1, 2)])
    assert cache.k_LCSGH.flatten().tolist() == [1, 1, 2]
    assert cache.v_LCSGH.flatten().tolist() == [4, 4, 5]
    cache.copy([])


def test_copied_blocks_in_fp8_take_their_factors_along() -> None:
    cache = PagedCache(layers=1, blocks=2, size=1, heads=1, width=1, like=torch.empty(0), fp8=True)
    cache.k_LCSGH.view(torch.uint8).flatten()[:] = torch.tensor([1, 2])
    cache.k_scales_LCGS.flatten()[:] = torch.tensor([3.0, 4.0])
    cache.copy([(0, 1)])
    assert cache.k_LCSGH.view(torch.uint8).flatten().tolist() == [1, 1]
    assert cache.k_scales_LCGS.flatten().tolist() == [3, 3]


def test_a_cache_in_fp8_holds_nearly_twice_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    like = torch.empty(0, dtype=torch.bfloat16)
    monkeypatch.setattr("os.sysconf", {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 1000}.__getitem__)
    whole = cache_tokens(CONFIG, like, 8192, 256)
    assert cache_tokens(CONFIG, like, 8192, 256, fp8=True) == pytest.approx(whole * 32 / 20, rel=0.01)


def test_the_cache_takes_a_quarter_of_a_machines_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    token = 2 * CONFIG.n_layers * CONFIG.n_kv_heads * CONFIG.head_dim * 4
    monkeypatch.setattr("os.sysconf", {"SC_AVPHYS_PAGES": 4 * token, "SC_PAGE_SIZE": 100}.__getitem__)
    assert cache_tokens(CONFIG, torch.empty(0), 8192, 256) == 100
    monkeypatch.setattr("os.sysconf", {"SC_AVPHYS_PAGES": 1, "SC_PAGE_SIZE": 100}.__getitem__)
    with pytest.raises(ValueError, match="too little for a cache"):
        cache_tokens(CONFIG, torch.empty(0), 8192, 256)
