"""The cache takes its share of free memory, and refuses to be made where there is none."""

import pytest
import torch

from model.cache.cache_size import tokens_that_fit
from tests.model.tiny import CONFIG


def test_a_cache_in_fp8_holds_nearly_twice_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    like = torch.empty(0, dtype=torch.bfloat16)
    monkeypatch.setattr("model.cache.cache_size.available_memory", lambda: 1_000_000)
    whole = tokens_that_fit(CONFIG, like, 0)
    assert tokens_that_fit(CONFIG, like, 0, fp8=True) == pytest.approx(whole * 32 / 20, rel=0.01)


def test_the_cache_takes_a_quarter_of_a_machines_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    token = 2 * CONFIG.n_layers * CONFIG.n_kv_heads * CONFIG.head_dim * 4
    monkeypatch.setattr("model.cache.cache_size.available_memory", lambda: 400 * token)
    assert tokens_that_fit(CONFIG, torch.empty(0), 0) == 100
    monkeypatch.setattr("model.cache.cache_size.available_memory", lambda: 100)
    with pytest.raises(ValueError, match="too little for a cache"):
        tokens_that_fit(CONFIG, torch.empty(0), 0)
