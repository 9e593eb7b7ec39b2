"""Attention of few queries over paged keys and values (Triton): for decoding, and questions of a few tokens.

In: queries, a layer of the paged cache, and the work items of `split_kv`. Out: each query's attention output.
An item reads its keys once for all its tokens and all query heads of a key head. Decoding is bound by reading
the cache, and so a shared prefix is read once a step, however many branches continue it. Keys and values in
FP8 are read as they are; their scales multiply scores and probabilities.

Shapes: T tokens, I items, Q tokens of an item, L partial results, N query heads, G key heads, H head width, B
sequences, M blocks of a sequence.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from model.cache.paged_cache import CacheLayer

# Keys of one pass of the loop, warps, and pipeline stages: the fastest on an H100 of 24 choices (FP8: of 16).
_TUNED, _TUNED_FP8 = (64, 4, 3), (64, 2, 6)
_LOG2_E = 1.4426950408889634  # the kernels' powers are of 2


Array = TypeVar("Array", NDArray[np.int32], Tensor)


@dataclass(frozen=True)
class AttentionWork(Generic[Array]):
    """The work items of `split_kv`, and the block tables that they name; in torch for the kernel."""

    table_BM: Array
    limits_T: Array
    """Keys that each token sees."""
    places_T2: Array
    """Each token's first place, and the one after its last. A token without places gets no output."""
    items: tuple[tuple[Array, Array, Array], ...]
    """tokens_IQ, places_IQ, spans_I3 of each width. Items with empty spans do nothing."""
    partials: int
    """Places for which the kernel allocates room."""


@triton.jit
def _span_kernel(
    q, k_cache, v_cache, k_scales, v_scales, table, tokens, places, spans, limits, partial, sums,
    q_stride, table_stride, scale,
    N: tl.constexpr, G: tl.constexpr, H: tl.constexpr, SIZE: tl.constexpr, Q: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, QUANT: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    # The key heads of an item run at the same time: the memory that they read is adjacent, too.
    group = tl.program_id(0)
    item = tl.program_id(1)
    start = tl.load(spans + item * 3 + 1)
    end = tl.load(spans + item * 3 + 2)
    if start >= end:
        return
    blocks = table + tl.load(spans + item * 3).to(tl.int64) * table_stride
    HEADS: tl.constexpr = N // G
    row = tl.arange(0, ROWS)
    inside = row < Q * HEADS
    token = tl.load(tokens + item * Q + row // HEADS, mask=inside, other=-1)
    used = token >= 0
    head = group * HEADS + row % HEADS
    width = tl.arange(0, H)
    q_at = q + token.to(tl.int64)[:, None] * q_stride + head[:, None] * H + width[None, :]
    queries = tl.load(q_at, mask=used[:, None], other=0.0)
    limit = tl.load(limits + token, mask=used, other=0)
    highest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    seen = tl.zeros((ROWS, H), tl.float32)
    PRECISION: tl.constexpr = "ieee" if EXACT else "tf32"
    # The tensor cores take no bfloat16 from FP8 without a detour through float32.
    COMPUTE: tl.constexpr = tl.float16 if QUANT else q.dtype.element_ty
    queries = queries.to(COMPUTE)
    lane = tl.arange(0, KEYS)
    offset = lane[:, None] * (G * H) + group * H + width[None, :]
    for at in range(start, end, KEYS):
        key = at + lane
        there = key < end
        if SIZE % KEYS == 0:  # one block, whose keys lie behind one another: the addresses are cheap
            block = tl.load(blocks + at // SIZE).to(tl.int64)
            vector = (block * SIZE + at % SIZE) * (G * H) + offset
            factor = (block * G + group) * SIZE + at % SIZE + lane
        else:
            block = tl.load(blocks + key // SIZE, mask=there, other=0).to(tl.int64)
            vector = (block * SIZE + key % SIZE)[:, None] * (G * H) + group * H + width[None, :]
            factor = (block * G + group) * SIZE + key % SIZE
        keys = tl.load(k_cache + vector, mask=there[:, None], other=0.0)
        values = tl.load(v_cache + vector, mask=there[:, None], other=0.0)
        scores = tl.dot(queries, tl.trans(keys.to(COMPUTE)), input_precision=PRECISION) * scale
        if QUANT:
            scores *= tl.load(k_scales + factor, mask=there, other=0.0)[None, :]
        scores = tl.where(key[None, :] < tl.minimum(limit, end)[:, None], scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, axis=1))
        # A row that has seen nothing yet has no highest score: it stays at -inf, and must not become NaN.
        base = tl.where(higher == float("-inf"), 0.0, higher)
        share = tl.exp2(scores - base[:, None])
        fade = tl.exp2(highest - base)
        total = total * fade + tl.sum(share, axis=1)
        if QUANT:
            share *= tl.load(v_scales + factor, mask=there, other=0.0)[None, :]
        seen = seen * fade[:, None] + tl.dot(share.to(COMPUTE), values.to(COMPUTE), input_precision=PRECISION)
        highest = higher
    total = tl.where(used, total, 1.0)  # rows that are not used have seen nothing
    place = tl.load(places + item * Q + row // HEADS, mask=used, other=0).to(tl.int64) * N + head
    tl.store(partial + place[:, None] * H + width[None, :], seen / total[:, None], mask=used[:, None])
    tl.store(sums + place, highest + tl.log2(total), mask=used)


@triton.jit
def _merge_kernel(partial, sums, places, out, N: tl.constexpr, H: tl.constexpr, PARTS: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    begin = tl.load(places + token * 2).to(tl.int64)
    end = tl.load(places + token * 2 + 1).to(tl.int64)
    width = tl.arange(0, H)
    highest = tl.full((), float("-inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    seen = tl.zeros((H,), tl.float32)
    for first in range(begin, end, PARTS):
        part = first + tl.arange(0, PARTS)
        there = part < end
        weight = tl.load(sums + part * N + head, mask=there, other=float("-inf"))
        parts = tl.load(
            partial + (part * N + head)[:, None] * H + width[None, :], mask=there[:, None], other=0.0
        )
        higher = tl.maximum(highest, tl.max(weight, axis=0))
        share = tl.exp2(weight - higher)
        fade = tl.exp2(highest - higher)
        total = total * fade + tl.sum(share, axis=0)
        seen = seen * fade + tl.sum(parts * share[:, None], axis=0)
        highest = higher
    if begin < end:
        tl.store(out + (token * N + head) * H + width, (seen / total).to(out.dtype.element_ty))


def split_attention(
    q_TNH: Tensor, layer: CacheLayer, work: AttentionWork[Tensor], block_size: int, out_TNH: Tensor
) -> None:
    """Softmax attention of each token over the first `limits_T` keys of its row, into `out_TNH`."""
    tokens, heads, width = q_TNH.shape
    groups = layer.k_CGH.shape[1]
    partial_LNH = q_TNH.new_empty(work.partials, heads, width, dtype=torch.float32)
    sums_LN = q_TNH.new_empty(work.partials, heads, dtype=torch.float32)
    for tokens_IQ, places_IQ, spans_I3 in work.items:
        count, per_item = tokens_IQ.shape
        if not count:
            continue
        rows = max(16, triton.next_power_of_2(per_item * heads // groups))
        keys, warps, stages = _TUNED_FP8 if layer.is_quantized and rows == 16 else _TUNED
        _span_kernel[(groups, count)](
            q_TNH, layer.k_CGH, layer.v_CGH, layer.k_scales_CGS, layer.v_scales_CGS, work.table_BM,
            tokens_IQ, places_IQ, spans_I3, work.limits_T, partial_LNH, sums_LN,
            q_TNH.stride(0), work.table_BM.stride(0), width**-0.5 * _LOG2_E,
            N=heads, G=groups, H=width, SIZE=block_size, Q=per_item, ROWS=rows, KEYS=keys,
            QUANT=layer.is_quantized, EXACT=q_TNH.dtype == torch.float32, num_warps=warps, num_stages=stages,
        )  # fmt: skip
    _merge_kernel[(tokens, heads)](
        partial_LNH, sums_LN, work.places_T2, out_TNH, N=heads, H=width, PARTS=8, num_warps=1
    )
