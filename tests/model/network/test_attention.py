"""Attention against the formula, written out."""

import pytest
import torch
from torch import Tensor

from model.network.attention import softmax_attention

SHAPES = [(1, 1), (1, 300), (7, 7), (7, 300), (300, 300), (130, 400)]


def by_formula(q_TNH: Tensor, k_SGH: Tensor, v_SGH: Tensor, causal: bool) -> Tensor:
    group = q_TNH.shape[1] // k_SGH.shape[1]
    k_SNH, v_SNH = k_SGH.repeat_interleave(group, 1), v_SGH.repeat_interleave(group, 1)
    scores_NTS = torch.einsum("tnh,snh->nts", q_TNH, k_SNH) * q_TNH.shape[2] ** -0.5
    if causal:
        queries, keys = len(q_TNH), len(k_SGH)
        seen = torch.arange(keys)[None] <= torch.arange(queries)[:, None] + keys - queries
        scores_NTS = scores_NTS.masked_fill(~seen, -torch.inf)
    return torch.einsum("nts,snh->tnh", scores_NTS.softmax(-1), v_SNH)


def inputs(queries: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(queries + keys)
    return (
        torch.randn(queries, 6, 16, generator=generator, dtype=torch.float64),
        torch.randn(keys, 2, 16, generator=generator, dtype=torch.float64),
        torch.randn(keys, 2, 16, generator=generator, dtype=torch.float64),
    )


@pytest.mark.parametrize(("queries", "keys"), SHAPES)
@pytest.mark.parametrize("causal", [False, True])
def test_each_query_sees_what_it_may(queries: int, keys: int, causal: bool) -> None:
    q, k, v = inputs(queries, keys)
    torch.testing.assert_close(softmax_attention(q, k, v, causal=causal), by_formula(q, k, v, causal))


@pytest.mark.parametrize(("queries", "keys"), SHAPES)
@pytest.mark.parametrize("causal", [False, True])
def test_bfloat16_in_blocks_is_as_near_as_bfloat16_can_be(queries: int, keys: int, causal: bool) -> None:
    q, k, v = (tensor.bfloat16() for tensor in inputs(queries, keys))
    expected = by_formula(q.double(), k.double(), v.double(), causal)
    with torch.inference_mode():
        error = softmax_attention(q, k, v, causal=causal).double() - expected
    assert error.abs().max() < 0.03
    assert error.square().mean().sqrt() < 0.005


def test_gradients_pass_in_bfloat16() -> None:
    q, k, v = (tensor.bfloat16().requires_grad_() for tensor in inputs(7, 7))
    softmax_attention(q, k, v, causal=True).sum().backward()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in (q, k, v))
