"""Shapes: T query tokens, S key tokens, N query heads, G key heads, H head width, P rotated pairs."""

import math

import pytest
import torch
from torch import Tensor

from model.network.layers import Segments, frequencies, packed_attention, rotate, rotation

CPU = torch.device("cpu")


def plain_attention(q_TNH: Tensor, k_SGH: Tensor, v_SGH: Tensor, segments: Segments) -> Tensor:
    """Softmax attention as the paper writes it, one segment and one head at a time."""
    out_TNH = torch.empty_like(q_TNH)
    start_q = start_k = 0
    for queries, keys in zip(segments.lengths_q, segments.lengths_k, strict=True):
        for head in range(q_TNH.shape[1]):
            group = head * k_SGH.shape[1] // q_TNH.shape[1]
            k = k_SGH[start_k : start_k + keys, group]
            scores = q_TNH[start_q : start_q + queries, head] @ k.T / math.sqrt(q_TNH.shape[2])
            for query in range(queries if segments.causal else 0):
                scores[query, keys - queries + query + 1 :] = -math.inf
            out_TNH[start_q : start_q + queries, head] = (
                scores.softmax(-1) @ v_SGH[start_k : start_k + keys, group]
            )
        start_q, start_k = start_q + queries, start_k + keys
    return out_TNH


CASES = [
    pytest.param((5, 1, 3), (5, 1, 3), False, id="images of different sizes"),
    pytest.param((4, 4), (4, 4), False, id="images of one size"),
    pytest.param((5, 1, 3), (5, 1, 3), True, id="prefill"),
    pytest.param((4, 4), (4, 4), True, id="prefill of equal lengths"),
    pytest.param((1, 1), (7, 7), True, id="decode of equal lengths"),
    pytest.param((3, 1, 2), (8, 5, 2), True, id="continuing caches"),
]


@pytest.mark.parametrize(("lengths_q", "lengths_k", "causal"), CASES)
def test_attend_is_softmax_attention_within_segments(
    lengths_q: tuple[int, ...], lengths_k: tuple[int, ...], causal: bool
) -> None:
    torch.manual_seed(0)
    q_TNH = torch.randn(sum(lengths_q), 6, 8, dtype=torch.float64)
    k_SGH, v_SGH = torch.randn(2, sum(lengths_k), 2, 8, dtype=torch.float64)
    segments = Segments.of(lengths_q, lengths_k, causal=causal, device=CPU)
    expected = plain_attention(q_TNH, k_SGH, v_SGH, segments)
    torch.testing.assert_close(packed_attention(q_TNH, k_SGH, v_SGH, segments), expected)


@pytest.mark.gpu
@pytest.mark.parametrize(("lengths_q", "lengths_k", "causal"), CASES)
def test_attend_in_half_precision_on_a_gpu(
    lengths_q: tuple[int, ...], lengths_k: tuple[int, ...], causal: bool
) -> None:
    torch.manual_seed(0)
    q_TNH = torch.randn(sum(lengths_q), 6, 64).bfloat16()
    k_SGH, v_SGH = torch.randn(2, sum(lengths_k), 2, 64).bfloat16()
    leaves = [tensor.cuda().requires_grad_() for tensor in (q_TNH, k_SGH, v_SGH)]
    segments = Segments.of(lengths_q, lengths_k, causal=causal, device=torch.device("cuda"))
    out_TNH = packed_attention(leaves[0], leaves[1], leaves[2], segments)
    doubles = [tensor.double().requires_grad_() for tensor in (q_TNH, k_SGH, v_SGH)]
    expected = plain_attention(doubles[0], doubles[1], doubles[2], segments)
    torch.testing.assert_close(out_TNH.cpu().double(), expected, atol=0.02, rtol=0.02)
    torch.autograd.backward(out_TNH.double().square().sum())
    torch.autograd.backward(expected.square().sum())
    for leaf, double in zip(leaves, doubles, strict=True):
        assert leaf.grad is not None
        assert double.grad is not None
        torch.testing.assert_close(leaf.grad.cpu().double(), double.grad, atol=0.1, rtol=0.1)


def test_segments_give_cumulative_starts() -> None:
    segments = Segments.of([3, 2], [3, 7], causal=True, device=CPU)
    assert segments.starts_q.tolist() == [0, 3, 5]
    assert segments.starts_k.tolist() == [0, 3, 10]
    assert (segments.longest_q, segments.longest_k) == (3, 7)
    assert segments.starts_q.dtype == torch.int32


def test_frequencies_fall_geometrically() -> None:
    step_P = frequencies(8, 10000.0, torch.float64, CPU)
    torch.testing.assert_close(step_P, torch.tensor([1.0, 0.1, 0.01, 0.001], dtype=torch.float64))


def test_rotate_turns_adjacent_pairs() -> None:
    x_TNH = torch.tensor([[[1.0, 0.0, 0.0, 2.0]]])
    turned = rotate(x_TNH, rotation(torch.tensor([[math.pi / 2, math.pi]])))
    torch.testing.assert_close(turned, torch.tensor([[[0.0, 1.0, 0.0, -2.0]]]), atol=1e-6, rtol=0)


def test_rotated_products_depend_on_distance_alone() -> None:
    torch.manual_seed(0)
    q_H, k_H = torch.randn(2, 16, dtype=torch.float64)
    step_P = frequencies(16, 1e6, torch.float64, CPU)

    def at(position: int, x_H: Tensor) -> Tensor:
        return rotate(x_H.view(1, 1, -1), rotation(position * step_P.view(1, -1))).flatten()

    torch.testing.assert_close(at(7, q_H) @ at(3, k_H), at(1007, q_H) @ at(1003, k_H))


def test_bfloat16_is_rotated_in_the_precision_of_the_table() -> None:
    torch.manual_seed(0)
    x_TNH = torch.randn(4, 2, 8).bfloat16()
    table = rotation(torch.outer(torch.arange(4.0) + 5000, frequencies(8, 1e4, torch.float32, CPU)))
    assert torch.equal(rotate(x_TNH, table), rotate(x_TNH.float(), table).bfloat16())
