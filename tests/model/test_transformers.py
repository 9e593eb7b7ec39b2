"""Equality with transformers' Pixtral and Mistral, which nobody here wrote, in both directions."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration, MistralConfig, PixtralVisionConfig

from model.checkpoint import load_model, save_model
from model.config import PixtralConfig
from model.network.pixtral import Pixtral
from tests.model.tiny import CONFIG, VISION, image_ids, tiny_pixtral

# Three conversations: two images of different sizes, none, one; patches of 16 pixels.
CONVERSATIONS = [
    ([(3, 5), (4, 2)], [1, 3, *image_ids(3, 5), 20, 21, *image_ids(4, 2), 30, 31, 4, 40]),
    ([], [1, 3, 33, 34, 35, 4]),
    ([(1, 8)], [1, 3, *image_ids(1, 8), 22, 4, 50, 51, 2, 3, 23, 4]),
]


@pytest.fixture(scope="module")
def theirs() -> LlavaForConditionalGeneration:
    torch.manual_seed(1)
    config = LlavaConfig(
        vision_config=PixtralVisionConfig(
            hidden_size=VISION.hidden_size,
            intermediate_size=VISION.intermediate_size,
            num_hidden_layers=VISION.num_hidden_layers,
            num_attention_heads=VISION.num_attention_heads,
            num_channels=VISION.num_channels,
            image_size=VISION.image_size,
            patch_size=VISION.patch_size,
            hidden_act="silu",
        ),
        text_config=MistralConfig(
            vocab_size=CONFIG.vocab_size,
            hidden_size=CONFIG.dim,
            intermediate_size=CONFIG.hidden_dim,
            num_hidden_layers=CONFIG.n_layers,
            num_attention_heads=CONFIG.n_heads,
            num_key_value_heads=CONFIG.n_kv_heads,
            head_dim=CONFIG.head_dim,
            rms_norm_eps=CONFIG.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": CONFIG.rope_theta},
            sliding_window=None,
        ),
        image_token_index=VISION.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )
    model: LlavaForConditionalGeneration = LlavaForConditionalGeneration(config).train(False)
    with torch.no_grad():
        for parameter in model.parameters():  # its own initialisation is too small to tell much
            parameter.mul_(1 + 0.2 * torch.randn_like(parameter)) if parameter.dim() == 1 else parameter.mul_(
                8
            )
    return model


@pytest.fixture(scope="module")
def published(theirs: LlavaForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their model as they save it, in several shards."""
    folder = tmp_path_factory.mktemp("hugging-face")
    theirs.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    return folder


def pictures() -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [
        [torch.randn(3, rows * 16, columns * 16, generator=generator) for rows, columns in grids]
        for grids, _ in CONVERSATIONS
    ]


def packed_logits(model: Pixtral, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Ours, all conversations and all images in one pack."""
    images = [image.to(dtype) for images in pictures() for image in images]
    ids = [token for _, ids in CONVERSATIONS for token in ids]
    lengths = [len(ids) for _, ids in CONVERSATIONS]
    logits = model(model.embed(torch.tensor(ids), model.encode_images(images)), lengths)
    return list(logits.split(lengths))


def their_logits(model: LlavaForConditionalGeneration) -> list[Tensor]:
    """Theirs, one conversation at a time, images padded to one size as its processor does."""
    every = []
    for (_, ids), images in zip(CONVERSATIONS, pictures(), strict=True):
        inputs = {"input_ids": torch.tensor([ids])}
        if images:
            padded = torch.zeros(len(images), 3, 128, 128)
            for row, image in zip(padded, images, strict=True):
                row[:, : image.shape[1], : image.shape[2]] = image
            inputs["pixel_values"] = padded
            inputs["image_sizes"] = torch.tensor([image.shape[1:] for image in images])
        with torch.no_grad():
            every.append(model(**inputs).logits[0])
    return every


def worst(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference over the largest logit."""
    pairs = zip(ours, theirs, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def test_logits_equal_those_of_transformers(theirs: LlavaForConditionalGeneration, published: Path) -> None:
    model = load_model(published, device="cpu", dtype=torch.float32)
    expected = their_logits(theirs)
    assert min(float(logits.std()) for logits in expected) > 0.3  # the comparison can fail
    assert worst(packed_logits(model), expected) < 1e-4


def test_logits_equal_those_of_transformers_in_float64(
    theirs: LlavaForConditionalGeneration, published: Path
) -> None:
    # transformers turns by float32 angles even then, so this is no closer than float32.
    model = load_model(published, device="cpu", dtype=torch.float64)
    assert worst(packed_logits(model, torch.float64), their_logits(theirs)) < 1e-4


def test_mistral_format_gives_the_logits_of_hugging_face_format(published: Path, tmp_path: Path) -> None:
    model = load_model(published, device="cpu", dtype=torch.float32)
    save_model(model, tmp_path)
    again = load_model(tmp_path, device="cpu", dtype=torch.float32)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["consolidated.safetensors", "params.json"]
    assert again.config == model.config
    for ours, theirs in zip(packed_logits(again), packed_logits(model), strict=True):
        assert torch.equal(ours, theirs)


def test_the_names_of_the_newer_module_tree_are_read_too(published: Path, tmp_path: Path) -> None:
    tensors = {
        {"language_model.lm_head.weight": "lm_head.weight"}.get(
            name, f"model.{name}".replace("language_model.model.", "language_model.")
        ): tensor
        for shard in published.glob("model-*.safetensors")
        for name, tensor in load_file(shard).items()
    }
    assert "model.language_model.norm.weight" in tensors
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((published / "config.json").read_bytes())
    models = [load_model(folder, device="cpu", dtype=torch.float32) for folder in (published, tmp_path)]
    assert worst(packed_logits(models[0]), packed_logits(models[1])) == 0


def test_a_model_of_ours_runs_in_transformers(tmp_path: Path, theirs: LlavaForConditionalGeneration) -> None:
    """The rotation of pairs from the other side: the permutation of transformers' conversion script."""
    ours = tiny_pixtral(seed=3)
    state = {}
    for name, tensor in ours.state_dict().items():
        if name.endswith((".wq.weight", ".wk.weight")):
            head_dim = VISION.head_dim if name.startswith("vision") else CONFIG.head_dim
            tensor = (
                tensor.view(-1, head_dim // 2, 2, tensor.shape[1])
                .transpose(1, 2)
                .reshape(tensor.shape)
                .clone()
            )
        state[rename(name)] = tensor
    model = LlavaForConditionalGeneration(theirs.config).train(False)
    model.load_state_dict(state)
    assert worst(packed_logits(ours), their_logits(model)) < 1e-4


def rename(name: str) -> str:
    """To the names of transformers' modules, written down here a second time."""
    for ours, hf in (
        ("vision_encoder.", "model.vision_tower."),
        ("vision_language_adapter.w_in", "model.multi_modal_projector.linear_1"),
        ("vision_language_adapter.w_out", "model.multi_modal_projector.linear_2"),
        ("tok_embeddings", "model.language_model.embed_tokens"),
        ("output", "lm_head"),
    ):
        name = name.replace(ours, hf)
    if name.startswith(("layers.", "norm.")):
        name = f"model.language_model.{name}"
        for ours, hf in (("attention.", "self_attn."), ("feed_forward.", "mlp.")):
            name = name.replace(ours, hf)
        name = name.replace("attention_norm", "input_layernorm").replace(
            "ffn_norm", "post_attention_layernorm"
        )
    for ours, hf in (
        (".wq.", ".q_proj."),
        (".wk.", ".k_proj."),
        (".wv.", ".v_proj."),
        (".wo.", ".o_proj."),
        (".w1.", ".gate_proj."),
        (".w2.", ".down_proj."),
        (".w3.", ".up_proj."),
    ):
        name = name.replace(ours, hf)
    return name


def test_the_published_configuration_of_pixtral_12b_is_read_alike(tmp_path: Path) -> None:
    """mistralai's params.json, and the config.json of its published conversion, which leaves values out."""
    mistral = {
        "dim": 5120,
        "n_layers": 40,
        "head_dim": 128,
        "hidden_dim": 14336,
        "n_heads": 32,
        "n_kv_heads": 8,
        "rope_theta": 1000000000.0,
        "norm_eps": 1e-05,
        "vocab_size": 131072,
        "vision_encoder": {
            "hidden_size": 1024,
            "num_channels": 3,
            "image_size": 1024,
            "patch_size": 16,
            "rope_theta": 10000.0,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_token_id": 10,
        },
    }
    hugging_face = {
        "architectures": ["LlavaForConditionalGeneration"],
        "image_seq_length": 1,
        "image_token_index": 10,
        "model_type": "llava",
        "projector_hidden_act": "gelu",
        "text_config": {
            "head_dim": 128,
            "hidden_size": 5120,
            "intermediate_size": 14336,
            "is_composition": True,
            "max_position_embeddings": 1024000,
            "model_type": "mistral",
            "num_hidden_layers": 40,
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000000.0,
            "sliding_window": None,
            "vocab_size": 131072,
        },
        "vision_config": {
            "head_dim": 64,
            "hidden_act": "silu",
            "image_size": 1024,
            "is_composition": True,
            "model_type": "pixtral",
            "patch_size": 16,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
        },
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    }
    (tmp_path / "params.json").write_text(json.dumps(mistral))
    (tmp_path / "config.json").write_text(json.dumps(hugging_face))
    ours = PixtralConfig.from_file(tmp_path / "params.json")
    theirs = PixtralConfig.from_hugging_face(tmp_path / "config.json")
    # The conversion alone names a length; the model card says 128k.
    assert (ours.max_position_embeddings, theirs.max_position_embeddings) == (128_000, 1_024_000)
    assert ours == replace(theirs, max_position_embeddings=128_000)
    assert (ours.n_heads * ours.head_dim, ours.vision.head_dim) == (4096, 64)
