"""The operations between the matrix products of a CUDA step, each as one pass over memory (Triton).

They are norms, RoPE with the write into the paged cache, SwiGLU, and the gathering of cached keys and values.
If the next product is in FP8, the same pass quantises its input, with one scale a token. Each function names
the plain torch that it equals. The kernels compute in float32, whatever the tensors' dtype.

Shapes: T tokens, D width, N query heads, G key and value heads, H head width, P rotated pairs (H / 2), F
width inside the feed-forward, X width of a fused product, S tokens whose keys are gathered, C slots of the
cache.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.cache.paged_cache import CacheLayer

FP8 = torch.float8_e4m3fn
FP8_MAX = tl.constexpr(448.0)
_SMALLEST_SCALE = tl.constexpr(1e-12)  # of a token that is all zeros


@dataclass(frozen=True)
class Quantized:
    """A tensor in FP8, with a factor for each row: it stands for values * scales."""

    values: Tensor
    """(T, D) float8_e4m3fn."""
    scales: Tensor
    """(T, 1) float32."""

    def __getitem__(self, rows: Tensor) -> "Quantized":
        # torch cannot index FP8, but its bytes.
        return Quantized(self.values.view(torch.uint8)[rows].view(FP8), self.scales[rows])


def _warps(block: int) -> int:
    """Warps of a block. A thread holds some 64 numbers, so that many rows are loaded at the same time."""
    return min(16, max(1, block // 2048))


@triton.jit
def _norm_kernel(
    x, first, second, weight, out, scales, eps,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, ADDED: tl.constexpr, QUANT: tl.constexpr,
):  # fmt: skip
    # A row is read in pieces. As one block it would be padded to the next power of 2, and a third of that
    # would be empty. The second reading of a piece finds it in the GPU's cache.
    row = tl.program_id(0).to(tl.int64) * WIDTH
    at = tl.arange(0, BLOCK)
    squares = tl.zeros((BLOCK,), tl.float32)
    for piece in tl.static_range(0, WIDTH, BLOCK):
        inside = piece + at < WIDTH
        value = tl.load(x + row + piece + at, mask=inside, other=0.0)
        if ADDED:
            more = tl.load(first + row + piece + at, mask=inside, other=0.0).to(tl.float32)
            if ADDED == 2:  # added before rounding: the order of the two ranks' parts makes no difference
                more += tl.load(second + row + piece + at, mask=inside, other=0.0).to(tl.float32)
            value = (value.to(tl.float32) + more).to(x.dtype.element_ty)
            tl.store(x + row + piece + at, value, mask=inside)
        squares += value.to(tl.float32) * value.to(tl.float32)
    factor = tl.rsqrt(tl.sum(squares, axis=0) / WIDTH + eps)
    if QUANT:
        largest = tl.zeros((BLOCK,), tl.float32)
        for piece in tl.static_range(0, WIDTH, BLOCK):
            inside = piece + at < WIDTH
            value = tl.load(x + row + piece + at, mask=inside, other=0.0).to(tl.float32)
            gain = tl.load(weight + piece + at, mask=inside, other=0.0).to(tl.float32)
            largest = tl.maximum(largest, tl.abs(value * gain))
        scale = tl.maximum(tl.max(largest, axis=0) * factor / FP8_MAX, _SMALLEST_SCALE)
        tl.store(scales + tl.program_id(0), scale)
        factor /= scale
    for piece in tl.static_range(0, WIDTH, BLOCK):
        inside = piece + at < WIDTH
        value = tl.load(x + row + piece + at, mask=inside, other=0.0).to(tl.float32)
        gain = tl.load(weight + piece + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + row + piece + at, (value * factor * gain).to(out.dtype.element_ty), mask=inside)


def rms_norm(
    x_TD: Tensor, weight_D: Tensor, eps: float, *, add: tuple[Tensor, ...] = (), quantize: bool = False
) -> Tensor | Quantized:
    """F.rms_norm(x_TD, (D,), weight_D, eps), after x_TD += sum(add) in place, of at most two tensors."""
    assert len(add) <= 2, len(add)
    rows, width = x_TD.shape
    out_TD = torch.empty_like(x_TD, dtype=FP8 if quantize else x_TD.dtype)
    scales_T1 = x_TD.new_empty(rows, 1, dtype=torch.float32) if quantize else out_TD
    if rows:
        _norm_kernel[(rows,)](
            x_TD, add[0] if add else x_TD, add[-1] if add else x_TD, weight_D, out_TD, scales_T1, eps,
            WIDTH=width, BLOCK=min(2048, triton.next_power_of_2(width)),
            ADDED=len(add), QUANT=quantize, num_warps=8,
        )  # fmt: skip
    return Quantized(out_TD, scales_T1) if quantize else out_TD


@triton.jit
def _quantize_kernel(x, out, scales, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    wide = tl.load(x + row * width + at, mask=at < width, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(wide), axis=0) / FP8_MAX, _SMALLEST_SCALE)
    tl.store(scales + row, scale)
    tl.store(out + row * width + at, (wide / scale).to(out.dtype.element_ty), mask=at < width)


def quantize(x_TD: Tensor) -> Quantized:
    """Each row in FP8, scaled so that its largest value becomes FP8's largest."""
    rows, width = x_TD.shape
    out_TD = torch.empty_like(x_TD, dtype=FP8)
    scales_T1 = x_TD.new_empty(rows, 1, dtype=torch.float32)
    if rows:
        block = triton.next_power_of_2(width)
        _quantize_kernel[(rows,)](x_TD, out_TD, scales_T1, width, BLOCK=block, num_warps=_warps(block))
    return Quantized(out_TD, scales_T1)


@triton.jit
def _swiglu_kernel(gate_up, out, scales, width, QUANT: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    gate = tl.load(gate_up + row * 2 * width + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + at, mask=inside, other=0.0).to(tl.float32)
    wide = gate / (1 + tl.exp(-gate)) * up
    if QUANT:  # one program holds the row
        scale = tl.maximum(tl.max(tl.abs(wide), axis=0) / FP8_MAX, _SMALLEST_SCALE)
        tl.store(scales + row, scale)
        wide /= scale
    tl.store(out + row * width + at, wide.to(out.dtype.element_ty), mask=inside)


def swiglu(gate_up_TF: Tensor, *, quantize: bool = False) -> Tensor | Quantized:
    """F.silu(gate) * up. A row of (T, 2F) holds first the gate, then up."""
    rows, width = gate_up_TF.shape[0], gate_up_TF.shape[1] // 2
    out_TF = gate_up_TF.new_empty(rows, width, dtype=FP8 if quantize else gate_up_TF.dtype)
    scales_T1 = gate_up_TF.new_empty(rows, 1, dtype=torch.float32) if quantize else out_TF
    if rows:
        block = triton.next_power_of_2(width)
        if not quantize:
            block = min(block, 2048)
        _swiglu_kernel[(rows, triton.cdiv(width, block))](
            gate_up_TF, out_TF, scales_T1, width,
            QUANT=quantize, BLOCK=block, num_warps=_warps(2 * block),  # two are read for each
        )  # fmt: skip
    return Quantized(out_TF, scales_T1) if quantize else out_TF


@triton.jit
def _factor_at(slot, head, G: tl.constexpr, SIZE: tl.constexpr):
    # The address of the factor of a slot's key head: factors lie block by block, and in a block head by head.
    return (slot // SIZE * G + head) * SIZE + slot % SIZE


@triton.jit
def _rope_kernel(
    qkv, turns, slots, k_cache, v_cache, k_scales, v_scales, stride,
    N: tl.constexpr, G: tl.constexpr, H: tl.constexpr, SIZE: tl.constexpr, HEADS: tl.constexpr,
    WIDE: tl.constexpr, STORE: tl.constexpr, QUANT: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS)
    pair = tl.arange(0, WIDE // 2)
    width = tl.arange(0, WIDE)  # a power of 2, which Pixtral-Large's heads of 104 in the encoder are not
    inside = (width < H)[None, :]
    at = qkv + token * stride + head[:, None] * H + width[None, :]
    turned = (head < N + G)[:, None] & inside
    x = tl.load(at, mask=turned, other=0.0).to(tl.float32)
    x0, x1 = tl.split(tl.reshape(x, (HEADS, WIDE // 2, 2)))
    cos = tl.load(turns + token * H + pair, mask=pair < H // 2, other=0.0)[None, :]
    sin = tl.load(turns + token * H + H // 2 + pair, mask=pair < H // 2, other=0.0)[None, :]
    y = tl.reshape(tl.join(x0 * cos - x1 * sin, x0 * sin + x1 * cos), (HEADS, WIDE))
    tl.store(at, y.to(qkv.dtype.element_ty), mask=turned)
    if STORE:
        slot = tl.load(slots + token).to(tl.int64)
        is_key = (head >= N) & (head < N + G) & (slot >= 0)
        is_value = (head >= N + G) & (head < N + 2 * G) & (slot >= 0)
        v = tl.load(at, mask=is_value[:, None] & inside, other=0.0).to(tl.float32)
        if QUANT:
            k_scale = tl.maximum(tl.max(tl.abs(y), axis=1) / FP8_MAX, _SMALLEST_SCALE)
            v_scale = tl.maximum(tl.max(tl.abs(v), axis=1) / FP8_MAX, _SMALLEST_SCALE)
            tl.store(k_scales + _factor_at(slot, head - N, G, SIZE), k_scale, mask=is_key)
            tl.store(v_scales + _factor_at(slot, head - N - G, G, SIZE), v_scale, mask=is_value)
            y /= k_scale[:, None]
            v /= v_scale[:, None]
        there = slot * G * H + width[None, :]
        key_at = k_cache + there + (head - N)[:, None] * H
        tl.store(key_at, y.to(k_cache.dtype.element_ty), mask=is_key[:, None] & inside)
        value_at = v_cache + there + (head - N - G)[:, None] * H
        tl.store(value_at, v.to(v_cache.dtype.element_ty), mask=is_value[:, None] & inside)


def rope(qkv_TX: Tensor, rotation_T2P: Tensor, heads: int) -> None:
    """`layers.rotate` for the first `heads` heads of each row, in place."""
    tokens, width = len(qkv_TX), 2 * rotation_T2P.shape[-1]
    if not tokens:
        return
    _rope_kernel[(tokens,)](
        qkv_TX, rotation_T2P, qkv_TX, qkv_TX, qkv_TX, qkv_TX, qkv_TX, qkv_TX.stride(0),
        N=heads, G=0, H=width, SIZE=1, HEADS=triton.next_power_of_2(heads),
        WIDE=triton.next_power_of_2(width), STORE=False, QUANT=False, num_warps=4,
    )  # fmt: skip


def rope_and_store(
    qkv_TX: Tensor, rotation_T2P: Tensor, slots_T: Tensor, layer: CacheLayer, queries: int
) -> None:
    """`layers.rotate` for queries and keys, in place; then keys and values go into each token's slot.

    A row has `queries` query heads, then the key heads, then the value heads. A token of slot -1 is in no
    sequence, and nothing is written for it.
    """
    tokens, (_, groups, width) = len(qkv_TX), layer.k_CGH.shape
    _rope_kernel[(tokens,)](
        qkv_TX, rotation_T2P, slots_T, layer.k_CGH, layer.v_CGH, layer.k_scales_CGS, layer.v_scales_CGS,
        qkv_TX.stride(0), N=queries, G=groups, H=width, SIZE=layer.k_scales_CGS.shape[2],
        HEADS=triton.next_power_of_2(queries + 2 * groups), WIDE=triton.next_power_of_2(width),
        STORE=True, QUANT=layer.is_quantized, num_warps=4,
    )  # fmt: skip


@triton.jit
def _gather_kernel(
    slots, k_cache, v_cache, k_scales, v_scales, k_out, v_out, count,
    G: tl.constexpr, H: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
    QUANT: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    slot = tl.load(slots + row, mask=row < count, other=0).to(tl.int64)[:, None]
    at = tl.arange(0, BLOCK)[None, :]
    inside = (at < G * H) & (row < count)[:, None] & (slot >= 0)
    k = tl.load(k_cache + slot * (G * H) + at, mask=inside, other=0.0)
    v = tl.load(v_cache + slot * (G * H) + at, mask=inside, other=0.0)
    if QUANT:
        factor = _factor_at(slot, at // H, G, SIZE)
        k = k.to(tl.float32) * tl.load(k_scales + factor, mask=inside, other=0.0)
        v = v.to(tl.float32) * tl.load(v_scales + factor, mask=inside, other=0.0)
    there = row[:, None] * (G * H) + at
    tl.store(k_out + there, k.to(k_out.dtype.element_ty), mask=inside)
    tl.store(v_out + there, v.to(v_out.dtype.element_ty), mask=inside)


def gather_kv(layer: CacheLayer, slots_S: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Keys and values (S, G, H) of the slots, in `dtype`. For slots below 0, the rows are not initialised."""
    _, groups, width = layer.k_CGH.shape
    k_SGH = layer.k_CGH.new_empty(len(slots_S), groups, width, dtype=dtype)
    v_SGH = torch.empty_like(k_SGH)
    _gather_kernel[(triton.cdiv(len(slots_S), 4),)](
        slots_S, layer.k_CGH, layer.v_CGH, layer.k_scales_CGS, layer.v_scales_CGS, k_SGH, v_SGH, len(slots_S),
        G=groups, H=width, SIZE=layer.k_scales_CGS.shape[2], BLOCK=triton.next_power_of_2(groups * width),
        ROWS=4, QUANT=layer.is_quantized, num_warps=4,
    )  # fmt: skip
    return k_SGH, v_SGH
