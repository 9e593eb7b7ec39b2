"""Each kernel equals the plain torch that it stands for: on a GPU if there is one, else interpreted."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")

from model.cache.batch import slot_mapping
from model.cache.paged_cache import CacheLayer
from model.cache.plan import Chunk
from model.executor.split_kv import divide
from model.kernels.elementwise import (
    FP8,
    Quantized,
    gather_kv,
    quantize,
    rms_norm,
    rope,
    rope_and_store,
    swiglu,
)
from model.kernels.split_attention import AttentionWork, split_attention
from model.network.attention import softmax_attention
from model.network.layers import rotate, rotation

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
QUERIES, GROUPS, WIDTH, SIZE, BLOCKS = 6, 2, 16, 4, 40


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def assert_quantized(ours: Tensor | Quantized, expected: Tensor) -> None:
    """Each row's largest value is FP8's largest, and no value is further off than FP8's steps."""
    assert isinstance(ours, Quantized)
    assert ours.values.dtype == FP8
    torch.testing.assert_close(ours.scales[:, 0] * 448, expected.abs().amax(dim=1), rtol=1e-5, atol=0)
    assert_rounded(ours.values.float() * ours.scales, expected, ours.scales)


def assert_rounded(ours: Tensor, expected: Tensor, scales: Tensor) -> None:
    """FP8 has 3 bits behind the leading one, and steps of 2^-9 next to 0."""
    if DEVICE.type == "cuda":
        assert ((ours - expected).abs() <= expected.abs() / 16 + scales * 2**-10).all()
    else:  # Triton's interpreter cuts what a GPU rounds, and halves what would become a power of 2
        near = (ours - expected).abs() <= expected.abs() / 8 + scales * 2**-9
        assert near.float().mean() > 0.9


@pytest.mark.parametrize("width", [48, 1500])
def test_the_norm_is_torchs(width: int) -> None:
    x, weight, more = random(5, width), random(width, seed=1), random(5, width, seed=2)
    expected = F.rms_norm(x, (width,), weight, 1e-5)
    torch.testing.assert_close(rms_norm(x, weight, 1e-5), expected)
    assert_quantized(rms_norm(x, weight, 1e-5, quantize=True), expected)
    for add in ((more,), (more, 2 * more)):
        total = x + sum(add)
        ours = rms_norm(x, weight, 1e-5, add=add)
        torch.testing.assert_close(x, total)
        torch.testing.assert_close(ours, F.rms_norm(total, (width,), weight, 1e-5))


def test_swiglu_is_the_plain_one() -> None:
    gate_up = random(4, 112)
    expected = F.silu(gate_up[:, :56]) * gate_up[:, 56:]
    torch.testing.assert_close(swiglu(gate_up), expected)
    assert_quantized(swiglu(gate_up, quantize=True), expected)


def test_rows_are_quantized_by_their_largest_value() -> None:
    x = random(3, 40) * torch.tensor([[1e-3], [1.0], [1e4]], device=DEVICE)
    assert_quantized(quantize(x), x)
    assert quantize(torch.zeros_like(x)).values.float().abs().max() == 0
    picked = quantize(x)[torch.tensor([2, 0], device=DEVICE)]
    assert_quantized(picked, x[[2, 0]])


def cache(dtype: torch.dtype, size: int = SIZE) -> CacheLayer:
    shape = (BLOCKS * size, GROUPS, WIDTH)
    k, v = (torch.zeros(shape, device=DEVICE).to(dtype) for _ in range(2))
    return CacheLayer(k, v, *(torch.zeros(BLOCKS, GROUPS, size, device=DEVICE) for _ in range(2)))


def by_slots(scales_CGS: Tensor) -> Tensor:
    """The factor of each key's vectors: (slots, G, 1)."""
    return scales_CGS.transpose(1, 2).flatten(0, 1)[..., None]


@pytest.mark.parametrize("dtype", [torch.float32, FP8])
def test_keys_are_turned_and_stored_and_come_back(dtype: torch.dtype) -> None:
    qkv = random(7, (QUERIES + 2 * GROUPS) * WIDTH)
    turns = rotation(torch.outer(torch.arange(7.0, device=DEVICE), random(WIDTH // 2, seed=1)))
    heads = qkv.clone().unflatten(1, (-1, WIDTH))
    q, k = rotate(heads[:, : QUERIES + GROUPS], turns).split((QUERIES, GROUPS), dim=1)
    v = heads[:, QUERIES + GROUPS :]
    layer = cache(dtype)
    layer.k_CGH[0] = 1.0
    places = torch.tensor([5, 9, 3, -1, 12, 100, 0], dtype=torch.int32, device=DEVICE)
    places[6] = 77
    rope_and_store(qkv, turns, places, layer, QUERIES)
    torch.testing.assert_close(qkv.unflatten(1, (-1, WIDTH)), torch.cat((q, k, v), dim=1))
    kept = places >= 0
    k_there, v_there = gather_kv(layer, places, torch.float32)
    for there, expected in ((k_there[kept], k[kept]), (v_there[kept], v[kept])):
        if dtype == FP8:
            assert_rounded(there, expected, expected.abs().amax(dim=2, keepdim=True) / 448)
        else:
            torch.testing.assert_close(there, expected)
    if dtype == FP8:
        kept_K = places[kept].long()
        plain = (layer.k_CGH.float() * by_slots(layer.k_scales_CGS))[kept_K]
        torch.testing.assert_close(k_there[kept], plain)
        plain = (layer.v_CGH.float() * by_slots(layer.v_scales_CGS))[kept_K]
        torch.testing.assert_close(v_there[kept], plain)
    assert (layer.k_CGH[0].float() == 1).all(), "a token of no sequence has been stored"
    alone = heads.flatten(1).clone()
    rope(alone, turns, QUERIES)
    torch.testing.assert_close(alone.unflatten(1, (-1, WIDTH))[:, :QUERIES], q)


def test_heads_need_not_be_a_power_of_two_wide() -> None:
    """Pixtral-Large's encoder has heads of 104."""
    heads = random(5, 3, 12)
    turns = rotation(torch.outer(torch.arange(5.0, device=DEVICE), random(6, seed=1)))
    packed = heads.flatten(1).clone()
    rope(packed, turns, 2)
    torch.testing.assert_close(
        packed.unflatten(1, (-1, 12)), torch.cat((rotate(heads[:, :2], turns), heads[:, 2:]), dim=1)
    )


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
