"""Weights are fused, and stored once."""

import pytest
import torch

pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")

from model.executor.fused_layers import FusedModel
from tests.model.executor.fused import make_model


def test_the_parameters_are_views_of_the_fused_weights() -> None:
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    FusedModel(model, fp8=False)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    wq, wv = (model.get_parameter(f"layers.0.attention.{name}.weight") for name in ("wq", "wv"))
    assert wq.untyped_storage().data_ptr() == wv.untyped_storage().data_ptr()
