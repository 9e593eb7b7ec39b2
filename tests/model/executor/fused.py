"""A tiny model on a GPU, if there is one, else on the interpreter of the kernels; and the engine over it."""

import pytest
import torch

from model.engine.request import Completion
from model.network.pixtral import Pixtral
from tests.model.configs import configured
from tests.model.engine.test_engine import make_group
from tests.model.tiny import tiny_pixtral

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZE = 4
FUSED = configured(block_size=SIZE, cache_tokens=400, fused=True, async_scheduling=True)
GROUPS = [make_group("a", [(0, 2, 3)], [(3, 3), (4, 3)]), make_group("b", [], [(2, 3)])]


def make_model(dtype: torch.dtype = torch.float32) -> Pixtral:
    """Of two layers, the first and the last, in which fewer positions are computed: each takes seconds."""
    return tiny_pixtral(dtype=dtype, n_layers=2).to(DEVICE)


def assert_alike(ours: dict[str, Completion], theirs: dict[str, Completion], tolerance: float) -> None:
    """The same tokens, and log-probabilities that differ by rounding."""
    assert ours.keys() == theirs.keys()
    for id, completion in theirs.items():
        assert ours[id].error is None
        assert ours[id].token_ids == completion.token_ids
        assert ours[id].logprobs == pytest.approx(completion.logprobs, abs=tolerance)
