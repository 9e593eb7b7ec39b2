"""Random Pixtrals small enough to run in milliseconds, shaped so that no two widths are equal by accident."""

from dataclasses import replace

import torch

from model.config import PixtralConfig, VisionConfig
from model.network.pixtral import Pixtral

VISION = VisionConfig(
    hidden_size=32,
    num_channels=3,
    image_size=128,
    patch_size=16,
    rope_theta=10000.0,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    image_token_id=10,
)
# n_heads * head_dim is 96, not dim: Pixtral-12B-2409 has that too (4096, not 5120).
CONFIG = PixtralConfig(
    dim=48,
    n_layers=3,
    head_dim=16,
    hidden_dim=56,
    n_heads=6,
    n_kv_heads=2,
    rope_theta=1e6,
    norm_eps=1e-5,
    vocab_size=64,
    max_position_embeddings=128_000,
    vision=VISION,
)


def tiny_pixtral(
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    vocab_size: int = 64,
    n_kv_heads: int = 2,
    hidden_dim: int = CONFIG.hidden_dim,
    n_layers: int = CONFIG.n_layers,
    vision: VisionConfig = VISION,
) -> Pixtral:
    """A model whose logits differ clearly between tokens: every weight is drawn, the norms' too."""
    generator = torch.Generator().manual_seed(seed)
    heads = replace(CONFIG, n_kv_heads=n_kv_heads, n_heads=3 * n_kv_heads, n_layers=n_layers)
    model = Pixtral(replace(heads, hidden_dim=hidden_dim, vocab_size=vocab_size, vision=vision))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name or "ln_pre" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.dim() > 1 and name != "tok_embeddings.weight":
                parameter.copy_(noise * parameter[0].numel() ** -0.5 * 1.5)
            else:
                parameter.copy_(noise)
    return model.to(dtype).eval().requires_grad_(False)


def image_ids(rows: int, columns: int) -> list[int]:
    """rows x columns image tokens, each row ended by a break, the last by the image's end."""
    ids = ([10] * columns + [12]) * rows
    return [*ids[:-1], 13]
