"""The paged KV cache's tensors: the keys and values of all sequences, in blocks of a few tokens.

The token at `offset` in block b has the slot b * size + offset. Which sequence has which blocks is the
scheduler's decision; this file knows nothing of sequences.

Shapes: L layers, C blocks of the cache, or slots in the tensors of one layer, S tokens of a block, G key and
value heads, H head width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.transfer import send


@dataclass(frozen=True)
class CacheLayer:
    """One layer of the cache, by slots."""

    k_CGH: Tensor
    v_CGH: Tensor
    k_scales_CGS: Tensor
    """The factor of each key, where they are in FP8; by blocks, not by slots, and of none elsewhere."""
    v_scales_CGS: Tensor

    @property
    def is_quantized(self) -> bool:
        return self.k_CGH.dtype == torch.float8_e4m3fn


class PagedCache:
    """Keys and values (L, C, S, G, H) of all sequences; in FP8 with the factor of each (L, C, G, S).

    The factors of a block's keys are read all at a time, for one head: they lie behind one another.
    """

    def __init__(
        self, *, layers: int, blocks: int, size: int, heads: int, width: int, like: Tensor, fp8: bool = False
    ) -> None:
        shape = (layers, blocks, size, heads, width)
        dtype = torch.float8_e4m3fn if fp8 else like.dtype
        self.k_LCSGH, self.v_LCSGH = like.new_empty(shape, dtype=dtype), like.new_empty(shape, dtype=dtype)
        scales = (layers, blocks if fp8 else 0, heads, size)
        self.k_scales_LCGS = like.new_empty(scales, dtype=torch.float32)
        self.v_scales_LCGS = like.new_empty(scales, dtype=torch.float32)
        if like.is_cuda:
            # A kernel may multiply what lies behind a sequence's end by 0, and NaN * 0 is NaN. The reference
            # reads nothing there, and memory that is never written is never taken from a CPU's machine.
            for tensor in self._tensors():
                tensor.zero_()

    @property
    def blocks(self) -> int:
        return self.k_LCSGH.shape[1]

    @property
    def size(self) -> int:
        """Tokens of a block."""
        return self.k_LCSGH.shape[2]

    def layer(self, index: int) -> CacheLayer:
        """One layer, by slots."""
        return CacheLayer(
            k_CGH=self.k_LCSGH[index].flatten(0, 1),
            v_CGH=self.v_LCSGH[index].flatten(0, 1),
            k_scales_CGS=self.k_scales_LCGS[index],
            v_scales_CGS=self.v_scales_LCGS[index],
        )

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy whole blocks (from, to), all at once."""
        if pairs:
            sources, targets = send(torch.tensor(pairs), self.k_LCSGH.device).unbind(1)
            for tensor in self._tensors():
                tensor[:, targets] = tensor[:, sources]

    def _tensors(self) -> list[Tensor]:
        """All that a block has; FP8 as bytes, which can be indexed."""
        keys = [
            one.view(torch.uint8) if one.dtype.itemsize == 1 else one for one in (self.k_LCSGH, self.v_LCSGH)
        ]
        scales = [self.k_scales_LCGS, self.v_scales_LCGS] if self.k_scales_LCGS.numel() else []
        return keys + scales
