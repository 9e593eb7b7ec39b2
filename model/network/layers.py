"""The parts that Pixtral's encoder and decoder share: RoPE, attention, feed-forward, block.

In and out: packed tokens, several sequences behind one another in one tensor without padding. `Segments` says
where each sequence begins. Parameters are named as in Mistral's consolidated.safetensors. This file keeps no
keys and values: each block is given an attention function. `packed_attention` attends to the keys and values
that the block has just computed; other functions add those of a cache.

Shapes: T query tokens, R rows whose output is needed, S key tokens, D width, N query heads, G key and value
heads, H head width, P rotated pairs (H / 2).
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.attention import softmax_attention
from model.transfer import send

# Rows of one piece of the feed-forward, which a CPU's cache holds. A whole page would be read from memory and
# written back at every operation.
_PIECE = 512

AttentionFn = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From a layer's queries (T, N, H), new keys and values (T, G, H) to the attention output (T, N, H)."""


@dataclass(frozen=True)
class Segments:
    """Where packed sequences begin and end. Made once a forward pass, read by every block.

    Example: two sequences, of 3 tokens, and of 2 tokens behind 5 cached ones: lengths_q (3, 2), lengths_k (3,
    7), starts_q (0, 3, 5), starts_k (0, 3, 10).
    """

    lengths_q: tuple[int, ...]
    lengths_k: tuple[int, ...]
    causal: bool
    starts_q: Tensor
    starts_k: Tensor
    longest_q: int
    longest_k: int
    skipped: int = 0
    """Queries before the first segment. They belong to no segment, and their output is not computed."""

    @classmethod
    def of(
        cls, lengths_q: Sequence[int], lengths_k: Sequence[int], *, causal: bool, device: torch.device
    ) -> Self:
        def starts(lengths: Sequence[int]) -> Tensor:
            return send(torch.tensor([0, *accumulate(lengths)], dtype=torch.int32), device)

        starts_q = starts(lengths_q)
        return cls(
            lengths_q=tuple(lengths_q),
            lengths_k=tuple(lengths_k),
            causal=causal,
            starts_q=starts_q,
            starts_k=starts_q if lengths_k == lengths_q else starts(lengths_k),
            longest_q=max(lengths_q),
            longest_k=max(lengths_k),
        )


def packed_attention(q_TNH: Tensor, k_SGH: Tensor, v_SGH: Tensor, segments: Segments) -> Tensor:
    """Softmax attention within each segment; (T, N, H). Query head n reads key head n // (N / G).

    A causal segment's last query sees its last key, also when keys outnumber queries (a cached prefix).
    """
    if q_TNH.is_cuda and q_TNH.dtype in (torch.bfloat16, torch.float16):
        if not torch.is_grad_enabled() and is_capturable(q_TNH.device, q_TNH.dtype):
            return _attend_hopper(q_TNH, k_SGH, v_SGH, segments)
        return _attend_varlen(q_TNH, k_SGH, v_SGH, segments)
    return torch.cat(
        [
            torch.empty_like(q_TNH[: segments.skipped]),
            *(
                softmax_attention(q, k, v, causal=segments.causal)
                for q, k, v in zip(
                    q_TNH[segments.skipped :].split_with_sizes(segments.lengths_q),
                    k_SGH.split_with_sizes(segments.lengths_k),
                    v_SGH.split_with_sizes(segments.lengths_k),
                    strict=True,
                )
            ),
        ]
    )


@cache
def is_capturable(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a CUDA graph that has captured `packed_attention` can compute segments of other lengths.

    It can if the attention is FlashAttention-3's, which reads the lengths from the device.
    """
    return (
        device.type == "cuda"
        and dtype == torch.bfloat16
        and torch.cuda.get_device_capability(device) == (9, 0)
    )


def _attend_hopper(q_TNH: Tensor, k_SGH: Tensor, v_SGH: Tensor, segments: Segments) -> Tensor:
    """FlashAttention-3, which only Hopper runs."""
    from fa3_fwd_interface import flash_attn_varlen_func  # loads CUDA's libraries

    out_TNH: Tensor = flash_attn_varlen_func(
        q_TNH,
        k_SGH,
        v_SGH,
        segments.starts_q,
        segments.starts_k,
        segments.longest_q,
        segments.longest_k,
        causal=segments.causal,
    )
    return out_TNH


def _attend_varlen(q_TNH: Tensor, k_SGH: Tensor, v_SGH: Tensor, segments: Segments) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # loads torch's compiler: 1.5 s that a CPU can spare

    # torch 2.11 has no grouped heads here, and its early builds name causality `is_causal`.
    known = _parameters(varlen_attn)
    options: dict[str, object] = {}
    if segments.causal:
        options = {"is_causal": True} if "is_causal" in known else {"window_size": (-1, 0)}
    group = q_TNH.shape[1] // k_SGH.shape[1]
    if group > 1 and "enable_gqa" in known:
        options["enable_gqa"] = True
    elif group > 1:
        k_SGH, v_SGH = k_SGH.repeat_interleave(group, dim=1), v_SGH.repeat_interleave(group, dim=1)
    out_TNH = varlen_attn(
        q_TNH,
        k_SGH,
        v_SGH,
        segments.starts_q,
        segments.starts_k,
        segments.longest_q,
        segments.longest_k,
        **options,  # type: ignore[arg-type]  # the names differ between torch versions
    )
    assert isinstance(out_TNH, Tensor)
    return out_TNH


@cache
def _parameters(function: Callable[..., object]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def frequencies(head_dim: int, theta: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Angle per position of each rotated pair (P,): theta ** -(2p / head_dim)."""
    exponents_P = torch.arange(0, head_dim, 2, dtype=dtype, device=device) / head_dim
    return 1.0 / theta**exponents_P


def rotation(angles_TP: Tensor) -> Tensor:
    """Cosines and sines (T, 2, P) of the angles, the table that `rotate` takes."""
    return torch.stack((angles_TP.cos(), angles_TP.sin()), dim=1)


def rotate(x_TNH: Tensor, rotation_T2P: Tensor) -> Tensor:
    """Turn adjacent pairs of every head: (x0, x1) by the first angle, (x2, x3) by the second, ...

    In the table's precision, since bfloat16 angles would blur positions; returned in x's.
    Hugging Face checkpoints turn x0 with x(H/2) instead: `checkpoint` permutes them on the way in.
    """
    # A pair is a complex number: one complex product turns it, instead of four products and their
    # rearranging.
    pairs_TNP = torch.view_as_complex(x_TNH.to(rotation_T2P.dtype).unflatten(-1, (-1, 2)))
    turns_TP = torch.complex(rotation_T2P[:, 0], rotation_T2P[:, 1])
    return torch.view_as_real(pairs_TNP * turns_TP[:, None]).flatten(-2).type_as(x_TNH)


class Attention(nn.Module):
    """Grouped-query attention with RoPE."""

    def __init__(self, dim: int, n_heads: int, n_kv_heads: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.wq = nn.Linear(dim, n_heads * head_dim, bias=False)
        self.wk = nn.Linear(dim, n_kv_heads * head_dim, bias=False)
        self.wv = nn.Linear(dim, n_kv_heads * head_dim, bias=False)
        self.wo = nn.Linear(n_heads * head_dim, dim, bias=False)

    def forward(
        self, x_TD: Tensor, rotation_T2P: Tensor, attend: AttentionFn, rows_R: Tensor | None = None
    ) -> Tensor:
        """(T, D). With `rows_R` (R, D): of all rows only keys and values are computed."""
        # Head counts come from the shapes: tensor parallelism gives this rank fewer heads.
        k_TGH = rotate(self.wk(x_TD).unflatten(1, (-1, self.head_dim)), rotation_T2P)
        v_TGH = self.wv(x_TD).unflatten(1, (-1, self.head_dim))
        if rows_R is not None:
            x_TD, rotation_T2P = x_TD[rows_R], rotation_T2P[rows_R]
        q_TNH = rotate(self.wq(x_TD).unflatten(1, (-1, self.head_dim)), rotation_T2P)
        out_TD: Tensor = self.wo(attend(q_TNH, k_TGH, v_TGH).flatten(1))
        return out_TD


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, x_TD: Tensor) -> Tensor:
        out_TD: Tensor = self.w2(F.silu(self.w1(x_TD)) * self.w3(x_TD))
        return out_TD


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward, each added to its input."""

    def __init__(
        self, *, dim: int, n_heads: int, n_kv_heads: int, head_dim: int, hidden_dim: int, norm_eps: float
    ) -> None:
        super().__init__()
        self.attention = Attention(dim, n_heads, n_kv_heads, head_dim)
        self.feed_forward = FeedForward(dim, hidden_dim)
        self.attention_norm = nn.RMSNorm(dim, eps=norm_eps)
        self.ffn_norm = nn.RMSNorm(dim, eps=norm_eps)

    def forward(
        self, x_TD: Tensor, rotation_T2P: Tensor, attend: AttentionFn, rows_R: Tensor | None = None
    ) -> Tensor:
        """(T, D). With `rows_R` (R, D): for the last block, if only these rows of its output are needed."""
        kept_TD = x_TD if rows_R is None else x_TD[rows_R]
        x_TD = kept_TD + self.attention(self.attention_norm(x_TD), rotation_T2P, attend, rows_R)
        if x_TD.is_cuda or torch.is_grad_enabled() or len(x_TD) <= _PIECE:
            return self._fed_forward(x_TD)
        return torch.cat([self._fed_forward(piece_TD) for piece_TD in x_TD.split(_PIECE)])

    def _fed_forward(self, x_TD: Tensor) -> Tensor:
        out_TD: Tensor = x_TD + self.feed_forward(self.ffn_norm(x_TD))
        return out_TD
