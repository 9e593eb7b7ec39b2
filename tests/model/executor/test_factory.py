"""The executor and its cache are made for the weights that there are, or refused."""

from dataclasses import replace

import pytest

pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")

from model.engine.engine import BatchEngine
from model.executor.factory import make_executor
from tests.model.configs import configured
from tests.model.engine.test_engine import EOS
from tests.model.executor.fused import DEVICE, FUSED, make_model
from tests.model.tiny import VISION, tiny_pixtral


def test_the_cache_is_sized_beside_weights_in_fp8_too() -> None:
    vision = replace(VISION, intermediate_size=48)
    model = tiny_pixtral(hidden_dim=80, vision=vision).to(DEVICE)
    config = configured(FUSED, cache_tokens=None, fp8_weights=True, graphs=False)  # nothing is multiplied
    executor = make_executor(model, config.executor)
    assert executor.cache.k_LCSGH.shape[3] == model.config.n_kv_heads
    assert sum(parameter.numel() for parameter in model.layers.parameters() if parameter.dim() > 1) == 0


def test_fp8_needs_widths_of_whole_sixteens() -> None:
    with pytest.raises(ValueError, match="this model has hidden_dim 56, vision intermediate_size 40"):
        make_executor(make_model(), configured(FUSED, fp8_weights=True).executor)


def test_fp8_needs_the_kernels() -> None:
    with pytest.raises(ValueError, match="FP8 needs a GPU's kernels"):
        BatchEngine(make_model(), eos_id=EOS, config=configured(FUSED, fused=False, fp8_cache=True))
