import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from model.config import PixtralConfig, VisionConfig, check_fp8_widths, check_tensor_parallel_size
from tests.model.tiny import CONFIG, VISION


def params(**changes: Any) -> dict[str, Any]:
    values = asdict(CONFIG)
    values["vision_encoder"] = values.pop("vision")
    return values | changes


def write(folder: Path, values: object) -> Path:
    path = folder / "params.json"
    path.write_text(json.dumps(values))
    return path


def test_params_json_is_read(tmp_path: Path) -> None:
    assert PixtralConfig.from_file(write(tmp_path, params())) == CONFIG


@pytest.mark.parametrize(
    ("said", "length"),
    [
        ({}, 128_000),
        ({"max_seq_len": 32_768}, 32_768),
        ({"max_seq_len": 32_768, "max_position_embeddings": 8_192}, 8_192),
    ],
)
def test_the_length_of_the_context_is_read(tmp_path: Path, said: dict[str, int], length: int) -> None:
    values = params(max_position_embeddings=None) | said
    assert PixtralConfig.from_file(write(tmp_path, values)).max_position_embeddings == length


def test_every_missing_and_unknown_key_is_named_at_once(tmp_path: Path) -> None:
    values = params(moe={"num_experts": 8}, sliding_window=4096)
    del values["dim"], values["n_heads"]
    with pytest.raises(
        ValueError, match=r"missing \['dim', 'n_heads'\], not supported \['moe', 'sliding_window'\]"
    ):
        PixtralConfig.from_file(write(tmp_path, values))


def test_keys_of_the_vision_encoder_are_named_with_their_place(tmp_path: Path) -> None:
    vision = asdict(VISION) | {"spatial_merge_size": 2}
    with pytest.raises(ValueError, match=r"not supported \['vision_encoder.spatial_merge_size'\]"):
        PixtralConfig.from_file(write(tmp_path, params(vision_encoder=vision)))


def test_a_text_only_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no vision_encoder"):
        PixtralConfig.from_file(write(tmp_path, params(vision_encoder=None)))


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
def test_an_unreadable_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"params\.json"):
        PixtralConfig.from_file(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 0}, "PixtralConfig.dim is 0: it must be a number above 0"),
        ({"n_layers": "3"}, "PixtralConfig.n_layers is '3'"),
        ({"n_kv_heads": 4}, "n_heads 6 must be a multiple of n_kv_heads 4"),
        ({"head_dim": 15}, "head_dim 15 must be even"),
        ({"vocab_size": 10}, "image_token_id 10 must be below vocab_size 10"),
    ],
)
def test_an_impossible_shape_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "hidden_size 32 over num_attention_heads 5"),
        ({"num_attention_heads": 16}, "multiple of 4"),
        ({"image_size": 100}, "image_size 100 must be a multiple of patch_size 16"),
    ],
)
def test_an_impossible_encoder_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VisionConfig(**asdict(VISION) | changes)


def hugging_face() -> dict[str, Any]:
    return {
        "model_type": "llava",
        "image_token_index": 10,
        "text_config": {
            "model_type": "mistral",
            "hidden_size": 48,
            "num_hidden_layers": 3,
            "head_dim": 16,
            "intermediate_size": 56,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-5,
            "vocab_size": 64,
            "max_position_embeddings": 128_000,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        "vision_config": {
            "model_type": "pixtral",
            "hidden_act": "silu",
            "hidden_size": 32,
            "image_size": 128,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "rope_parameters": {"rope_type": "axial", "rope_theta": 1e4},
        },
    }


def test_config_json_is_read(tmp_path: Path) -> None:
    assert PixtralConfig.from_hugging_face(write(tmp_path, hugging_face())) == CONFIG


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        (None, "model_type", "mistral3"),
        (None, "vision_feature_layer", -2),
        (None, "tie_word_embeddings", True),
        ("text_config", "sliding_window", 4096),
        ("text_config", "rope_parameters", {"rope_type": "yarn", "rope_theta": 1e6}),
        ("text_config", "rope_parameters", {"rope_type": "default"}),
        ("vision_config", "hidden_act", "gelu"),
        ("vision_config", "model_type", "clip_vision_model"),
    ],
)
def test_another_network_is_refused(tmp_path: Path, part: str | None, name: str, value: object) -> None:
    values = hugging_face()
    (values[part] if part else values)[name] = value
    with pytest.raises(ValueError, match=name.replace("_parameters", "_t")):
        PixtralConfig.from_hugging_face(write(tmp_path, values))


PIXTRAL_12B = replace(CONFIG, n_heads=32, n_kv_heads=8, hidden_dim=14336, vocab_size=131072)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_as_many_ranks_as_divide_the_model_can_share_it(size: int) -> None:
    check_tensor_parallel_size(PIXTRAL_12B, size)


@pytest.mark.parametrize("size", [0, 3, 5, 6, 7, 16, 32])
def test_other_sizes_are_refused_with_those_that_fit(size: int) -> None:
    expected = (
        f"tensor parallel over {size} ranks: they must divide 8 key and value heads, "
        "14336 feed-forward channels, 131072 tokens of the vocabulary; choose one of 1, 2, 4, 8"
    )
    with pytest.raises(ValueError, match=f"^{expected}$"):
        check_tensor_parallel_size(PIXTRAL_12B, size)


def test_fp8_takes_widths_of_whole_sixteens_alone() -> None:
    fitting = replace(PIXTRAL_12B, dim=5120, head_dim=128)
    vision = replace(fitting.vision, hidden_size=1024, intermediate_size=4096, num_attention_heads=16)
    fitting = replace(fitting, vision=vision)
    for ranks in (1, 2, 4, 8):
        check_fp8_widths(fitting, ranks)
    with pytest.raises(ValueError, match=r"of 16, and this model has dim 5128: choose bfloat16$"):
        check_fp8_widths(replace(fitting, dim=5128), 1)
    narrow = replace(fitting, hidden_dim=48, n_kv_heads=2, head_dim=20)
    with pytest.raises(ValueError, match=r"of 2 ranks, .* has n_kv_heads \* head_dim 20, hidden_dim 24: "):
        check_fp8_widths(narrow, 2)
