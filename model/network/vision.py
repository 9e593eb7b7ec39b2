"""Images to one vector a patch: Pixtral's vision encoder, and the adapter into the decoder's width.

In: images of any sizes whose sides are multiples of the patch, as one packed batch. Out: (P, width), the
patches of each image row by row, image after image. A patch attends only to patches of its own image.
Reference: mistral-inference `vision_encoder.py`, but at its HEAD patches attend to all packed images.

Shapes: P patches of all images, C numbers in a patch (channels * side * side), D width.
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import VisionConfig
from model.network.layers import (
    AttentionFn,
    Segments,
    TransformerBlock,
    frequencies,
    packed_attention,
    rotation,
)

# Fixed in Mistral's code; params.json does not hold it.
_NORM_EPS = 1e-5


class VisionBlock(TransformerBlock):
    """A block of the encoder. It has its own class, so that sharding the decoder's blocks leaves it whole."""


class VisionTransformer(nn.Module):
    """The encoder's blocks; it has no final norm."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            VisionBlock(
                dim=config.hidden_size,
                n_heads=config.num_attention_heads,
                n_kv_heads=config.num_attention_heads,
                head_dim=config.head_dim,
                hidden_dim=config.intermediate_size,
                norm_eps=_NORM_EPS,
            )
            for _ in range(config.num_hidden_layers)
        )

    def forward(self, x_PD: Tensor, rotation_P2H: Tensor, attend: AttentionFn) -> Tensor:
        for layer in self.layers:
            x_PD = layer(x_PD, rotation_P2H, attend)
        return x_PD


class VisionEncoder(nn.Module):
    """Patches, a norm, and the transformer over them."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_conv = nn.Conv2d(
            config.num_channels, config.hidden_size, config.patch_size, stride=config.patch_size, bias=False
        )
        self.ln_pre = nn.RMSNorm(config.hidden_size, eps=_NORM_EPS)
        self.transformer = VisionTransformer(config)

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        """Each image (channels, height, width), normalised; ValueError when one is off the patch grid."""
        x_PD, rotation_P2H, lengths = self.embed(images)
        segments = Segments.of(lengths, lengths, causal=False, device=x_PD.device)
        out_PD: Tensor = self.transformer(x_PD, rotation_P2H, partial(packed_attention, segments=segments))
        return out_PD

    def embed(self, images: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[int]]:
        """The input of the blocks: patches (P, D), their RoPE table, and each image's number of patches."""
        weight_DC = self.patch_conv.weight.flatten(1)
        grids = [self._grid(image) for image in images]
        patches_PC = torch.cat([self._patches(image) for image in images]).to(weight_DC)
        # A convolution whose stride is its kernel is one matrix product over the patches of all images.
        # Under autocast the product is in half precision; the residual stream stays in the parameters' dtype.
        x_PD = self.ln_pre(F.linear(patches_PC, weight_DC).to(weight_DC.dtype))
        turns = {grid: self._rotation(*grid, x_PD) for grid in set(grids)}
        lengths = [rows * columns for rows, columns in grids]
        return x_PD, torch.cat([turns[grid] for grid in grids]), lengths

    def _grid(self, image: Tensor) -> tuple[int, int]:
        channels, height, width = image.shape
        side = self.config.patch_size
        if channels != self.config.num_channels or not height or not width or height % side or width % side:
            raise ValueError(
                f"image of shape {tuple(image.shape)}: expected ({self.config.num_channels}, height, width) "
                f"with sides that are multiples of the patch, {side} pixels; resize it (`preprocess`)"
            )
        return height // side, width // side

    def _patches(self, image: Tensor) -> Tensor:
        """(P, C): patches row by row; inside one by channel, row, column, as in patch_conv's weight."""
        side = self.config.patch_size
        windows = image.unfold(1, side, side).unfold(2, side, side)  # channel, row, column, y, x
        return windows.permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)

    def _rotation(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """2-D RoPE table: even frequencies turn with the row, then odd ones with the column."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        step_P = frequencies(self.config.head_dim, self.config.rope_theta, dtype, like.device)
        row_angles = torch.outer(torch.arange(rows, dtype=dtype, device=like.device), step_P[::2])
        column_angles = torch.outer(torch.arange(columns, dtype=dtype, device=like.device), step_P[1::2])
        angles = torch.cat(
            (
                row_angles[:, None].expand(-1, columns, -1),
                column_angles[None].expand(rows, -1, -1),
            ),
            dim=-1,
        )
        return rotation(angles.flatten(0, 1))


class VisionLanguageAdapter(nn.Module):
    """A patch's vector in the decoder's width: Linear, exact GELU, Linear."""

    def __init__(self, hidden_size: int, dim: int) -> None:
        super().__init__()
        self.w_in = nn.Linear(hidden_size, dim)
        self.w_out = nn.Linear(dim, dim)

    def forward(self, x_PD: Tensor) -> Tensor:
        out_PD: Tensor = self.w_out(F.gelu(self.w_in(x_PD)))
        return out_PD
