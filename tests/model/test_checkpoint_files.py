"""What a checkpoint must hold is told without building the network."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from model.checkpoint_files import tensor_shapes
from model.config import PixtralConfig
from model.network.pixtral import Pixtral
from tests.model.tiny import tiny_pixtral

ROOT = Path(__file__).parents[2]


def published(tmp_path: Path) -> PixtralConfig:
    """Pixtral-12B-2409, as its params.json says."""
    vision = {
        "hidden_size": 1024,
        "num_channels": 3,
        "image_size": 1024,
        "patch_size": 16,
        "rope_theta": 10000.0,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_token_id": 10,
    }
    params = {
        "dim": 5120,
        "n_layers": 40,
        "head_dim": 128,
        "hidden_dim": 14336,
        "n_heads": 32,
        "n_kv_heads": 8,
        "rope_theta": 1e9,
        "norm_eps": 1e-5,
        "vocab_size": 131072,
        "vision_encoder": vision,
    }
    file = tmp_path / "params.json"
    file.write_text(json.dumps(params))
    return PixtralConfig.from_file(file)


@pytest.mark.parametrize("model", ["nano", "tiny", "one of each number", "published"])
def test_the_shapes_are_those_of_the_network(model: str, tmp_path: Path) -> None:
    tiny = tiny_pixtral().config
    config = {
        "nano": PixtralConfig.from_file(ROOT / "model" / "nano" / "params.json"),
        "tiny": tiny,
        "one of each number": replace(tiny, dim=52, n_layers=3, head_dim=6, hidden_dim=17, vocab_size=101),
        "published": published(tmp_path),
    }[model]
    network = {name: tuple(tensor.shape) for name, tensor in Pixtral.on_meta(config).state_dict().items()}
    assert tensor_shapes(config) == network
