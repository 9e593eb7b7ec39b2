"""Tokens and log-probabilities against plain formulas; draws that depend on seed and place alone."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from model.engine.sampling import sample_tokens
from model.engine.sampling_params import SamplingParams

GREEDY = SamplingParams()
LOGITS = torch.tensor([[0.5, 0.3, 0.2, 1e-9], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64).log()


def bits(*allowed: list[int]) -> Tensor:
    rows = [[sum(1 << token for token in row)] for row in allowed]
    return torch.tensor(rows, dtype=torch.int32)


def frequencies(sampling: SamplingParams, row: int = 0, mask: Tensor | None = None) -> list[float]:
    """How often each token is drawn, over many places of an answer."""
    settings = [(sampling, index) for index in range(4000)]
    mask = None if mask is None else mask.expand(len(settings), -1)
    tokens, _ = sample_tokens(LOGITS[row].expand(len(settings), -1), settings, mask)
    counts = Counter(tokens.tolist())
    return [counts[token] / len(settings) for token in range(4)]


def test_greedy_takes_the_likeliest_and_says_how_likely() -> None:
    tokens, logprobs = sample_tokens(LOGITS, [(GREEDY, 0), (GREEDY, 0)])
    assert tokens.tolist() == [0, 3]
    torch.testing.assert_close(logprobs.exp(), torch.tensor([0.5, 0.4], dtype=torch.float64))


def test_half_precision_logits_are_weighed_in_float32() -> None:
    logits = torch.randn(3, 1000).bfloat16()
    tokens, logprobs = sample_tokens(logits, [(GREEDY, 0)] * 3)
    expected = logits.float().log_softmax(1).gather(1, tokens[:, None])[:, 0]
    torch.testing.assert_close(logprobs, expected)


def test_a_mask_decides_the_token_and_leaves_its_probability() -> None:
    tokens, logprobs = sample_tokens(LOGITS, [(GREEDY, 0)] * 2, bits([1, 2], [0, 1, 2, 3]))
    assert tokens.tolist() == [1, 3]
    torch.testing.assert_close(logprobs.exp(), torch.tensor([0.3, 0.4], dtype=torch.float64))


def test_a_row_without_a_distribution_does_not_disturb_the_others() -> None:
    drawn = SamplingParams(temperature=1.0)
    mask = bits([0, 1, 2, 3], [])
    tokens, logprobs = sample_tokens(LOGITS, [(drawn, 0), (drawn, 0)], mask)
    assert tokens[:1].tolist() == sample_tokens(LOGITS[:1], [(drawn, 0)])[0].tolist()
    assert logprobs.isfinite().all()


def test_draws_follow_the_probabilities() -> None:
    assert frequencies(SamplingParams(temperature=1.0)) == pytest.approx([0.5, 0.3, 0.2, 0.0], abs=0.03)


def test_temperature_sharpens() -> None:
    squares = torch.tensor([0.1, 0.2, 0.3, 0.4]) ** 2
    expected = (squares / squares.sum()).tolist()
    assert frequencies(SamplingParams(temperature=0.5), row=1) == pytest.approx(expected, abs=0.03)


def test_top_p_keeps_the_likeliest_that_reach_it() -> None:
    kept = frequencies(SamplingParams(temperature=1.0, top_p=0.6))
    assert kept == pytest.approx([0.5 / 0.8, 0.3 / 0.8, 0.0, 0.0], abs=0.03)
    assert frequencies(SamplingParams(temperature=1.0, top_p=1e-6), row=1) == [0, 0, 0, 1]


def test_draws_stay_within_the_mask() -> None:
    drawn = frequencies(SamplingParams(temperature=1.0), mask=bits([1, 2]))
    assert drawn == pytest.approx([0.0, 0.6, 0.4, 0.0], abs=0.03)


def test_draws_depend_on_seed_and_place_alone() -> None:
    one, other = (SamplingParams(temperature=1.0, seed=seed) for seed in (1, 2))
    logits = torch.randn(50)
    alone = [int(sample_tokens(logits[None], [(one, index)])[0]) for index in range(20)]
    together = sample_tokens(logits.expand(21, -1), [(GREEDY, 0), *((one, index) for index in range(20))])[0]
    assert together.tolist()[1:] == alone
    assert [int(sample_tokens(logits[None], [(other, index)])[0]) for index in range(20)] != alone


def test_logits_that_are_not_finite_are_told_by_their_log_probability() -> None:
    for value in (float("nan"), float("inf"), -float("inf")):
        logits = LOGITS.clone()
        logits[0, 2] = value
        _, logprobs = sample_tokens(logits, [(GREEDY, 0)] * 2)
        assert logprobs.isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    "values", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_settings_are_checked(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        SamplingParams(**values)  # type: ignore[arg-type]  # only floats are tried
