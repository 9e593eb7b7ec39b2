"""The models that benchmarks measure: a checkpoint, or a shape that gets random weights where it runs.

In: a checkpoint's folder, or the shape's sizes. Out: a Pixtral and its tokenizer; or a checkpoint on the
disk, for the commands that read one.
"""

from dataclasses import replace
from pathlib import Path

import torch

from model.cache.cache_size import free_memory
from model.checkpoint import load_model, save_model
from model.config import PixtralConfig, VisionConfig
from model.network.pixtral import Pixtral
from model.text.tokenizer import Tokenizer

NANO = Path("model/nano")
PIXTRAL_12B = PixtralConfig(
    dim=5120,
    n_layers=40,
    head_dim=128,
    hidden_dim=14336,
    n_heads=32,
    n_kv_heads=8,
    rope_theta=1e9,
    norm_eps=1e-5,
    vocab_size=131072,
    max_position_embeddings=128_000,
    vision=VisionConfig(
        hidden_size=1024,
        num_channels=3,
        image_size=1024,
        patch_size=16,
        rope_theta=1e4,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_token_id=10,
    ),
)
# For its speed alone: its tokenizer is not Tekken.
PIXTRAL_LARGE = PixtralConfig(
    dim=12288,
    n_layers=88,
    head_dim=128,
    hidden_dim=28672,
    n_heads=96,
    n_kv_heads=8,
    rope_theta=1e9,
    norm_eps=1e-5,
    vocab_size=32768,
    max_position_embeddings=128_000,
    vision=VisionConfig(
        hidden_size=1664,
        num_channels=3,
        image_size=1024,
        patch_size=16,
        rope_theta=1e4,
        intermediate_size=8192,
        num_hidden_layers=48,
        num_attention_heads=16,
        image_token_id=10,
    ),
)
# It computes next to nothing, so that a run's other work is left.
TINY = PixtralConfig(
    dim=32,
    n_layers=1,
    head_dim=16,
    hidden_dim=32,
    n_heads=2,
    n_kv_heads=1,
    rope_theta=1e6,
    norm_eps=1e-5,
    vocab_size=3048,
    max_position_embeddings=128_000,
    vision=VisionConfig(
        hidden_size=32,
        num_channels=3,
        image_size=128,
        patch_size=16,
        rope_theta=1e4,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_token_id=10,
    ),
)
SHAPES = {"pixtral-12b": PIXTRAL_12B, "pixtral-large": PIXTRAL_LARGE}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def this_device() -> torch.device:
    """The GPU, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_model(checkpoint: Path, shape: str | None, *, device: torch.device, dtype: torch.dtype) -> Pixtral:
    """The checkpoint's model, or one of the named shape if there is a name."""
    if shape is None:
        return load_model(checkpoint, device=device, dtype=dtype)
    return random_model(SHAPES[shape], device=device, dtype=dtype)


def tokenizer_file(checkpoint: Path, shape: str | None) -> Path:
    """The checkpoint's; a shape has none of its own, and nano's tokens are the first of any Tekken."""
    return (checkpoint if shape is None else NANO) / "tekken.json"


def random_model(
    config: PixtralConfig, *, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> Pixtral:
    """A model of this shape, made where it is used; see `fill`."""
    return fill(Pixtral.on_meta(config), device=device, dtype=dtype, seed=seed)


def fill(model: Pixtral, *, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Pixtral:
    """Gives a model on meta its tensors: normal weights of deviation 0.02, norms of 1, no biases.

    ValueError where there is no memory for it.
    """
    needed = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    free = free_memory(device)
    if needed > free:
        raise ValueError(
            f"the weights need {needed >> 30} GiB and {free >> 30} GiB are free on this {device.type}: take "
            "a larger GPU, or another model"
        )
    model = model.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=0.02, generator=generator)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return model


def write_checkpoint(
    config: PixtralConfig, tokenizer: Path, folder: Path, *, device: torch.device, dtype: torch.dtype
) -> None:
    """A checkpoint of this shape with random weights and as many tokens as the tokenizer has."""
    folder.mkdir(exist_ok=True)
    (folder / "tekken.json").write_bytes(tokenizer.read_bytes())
    config = replace(config, vocab_size=Tokenizer.from_file(tokenizer).vocab_size)
    save_model(random_model(config, device=device, dtype=dtype), folder)
