"""Softmax attention of one sequence in plain torch: the reference, and the way of CPUs.

Queries (T, N, H), keys and values (S, G, H) in, (T, N, H) out. Query head n reads key head n // (N / G).
Causal: the last query sees all keys, and each earlier query one key less, also if keys outnumber queries.

Shapes: T queries, S keys, B queries of a block, N query heads, G key heads, H head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Queries of a block: a core's cache holds their scores for as many keys as a page has.
_BLOCK = 128


def softmax_attention(q_TNH: Tensor, k_SGH: Tensor, v_SGH: Tensor, *, causal: bool) -> Tensor:
    """Each query's attention output (T, N, H)."""
    queries, keys = len(q_TNH), len(k_SGH)
    if queries == 1:
        return _attend_one(q_TNH, k_SGH, v_SGH)
    if q_TNH.dtype == torch.bfloat16 and q_TNH.device.type == "cpu" and not torch.is_grad_enabled():
        return _attend_in_blocks(q_TNH, k_SGH, v_SGH, causal)
    mask = None
    if causal and queries < keys:
        # torch's is_causal would align the first query with the first key.
        mask = torch.ones(queries, keys, dtype=torch.bool, device=q_TNH.device).tril(keys - queries)
    out_1NTH = F.scaled_dot_product_attention(
        q_TNH.transpose(0, 1)[None],
        k_SGH.transpose(0, 1)[None],
        v_SGH.transpose(0, 1)[None],
        attn_mask=mask,
        is_causal=causal and mask is None,
        enable_gqa=q_TNH.shape[1] != k_SGH.shape[1],
    )
    return out_1NTH[0].transpose(0, 1)


def _attend_one(q_1NH: Tensor, k_SGH: Tensor, v_SGH: Tensor) -> Tensor:
    """A single query. Its heads become the queries of their key head, so that each key is read once."""
    _, heads, width = q_1NH.shape
    groups = k_SGH.shape[1]
    out_1GTH = F.scaled_dot_product_attention(
        q_1NH.view(1, groups, heads // groups, width),
        k_SGH.transpose(0, 1)[None],
        v_SGH.transpose(0, 1)[None],
    )
    return out_1GTH.reshape(1, heads, width)


def _attend_in_blocks(q_TNH: Tensor, k_SGH: Tensor, v_SGH: Tensor, causal: bool) -> Tensor:
    """In bfloat16 on a CPU, torch's own kernel does not use the instructions that multiply it; `bmm` does.

    6 heads of 64, 3,136 queries and keys, one core with avx512_bf16: 73 ms against 191 ms; causal with 2 key
    heads 40 ms against 109 ms. In float32 torch's kernel is the faster one.
    """
    (queries, heads, width), (keys, groups, _) = q_TNH.shape, k_SGH.shape
    k_GHS = k_SGH.permute(1, 2, 0).contiguous()
    v_GSH = v_SGH.transpose(0, 1).contiguous()
    scaled_TGnH = (q_TNH * width**-0.5).view(queries, groups, heads // groups, width)
    out_TGnH = torch.empty_like(scaled_TGnH)
    for begin in range(0, queries, _BLOCK):
        end = min(begin + _BLOCK, queries)
        seen = keys - queries + end if causal else keys
        q_GBH = scaled_TGnH[begin:end].permute(1, 2, 0, 3).reshape(groups, -1, width)
        scores_GBS = torch.bmm(q_GBH, k_GHS[:, :, :seen])
        if causal:
            later = torch.ones(end - begin, end - begin, dtype=torch.bool).triu(1)
            scores_GBS.view(groups, -1, end - begin, seen)[..., seen - (end - begin) :].masked_fill_(
                later, -torch.inf
            )
        seen_GBH = torch.bmm(scores_GBS.softmax(dim=-1), v_GSH[:, :seen])
        out_TGnH[begin:end] = seen_GBH.view(groups, -1, end - begin, width).permute(2, 0, 1, 3)
    return out_TGnH.view(queries, heads, width)
