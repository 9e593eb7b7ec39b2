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
    """One layer of the cache. C counts slots in keys and values, and blocks in the scales."""

    k_CGH: Tensor
    v_CGH: Tensor
    k_scales_CGS: Tensor
    """The factor of each key in FP8. In other types there are none, and C is 0."""
    v_scales_CGS: Tensor

    @property
    def is_quantized(self) -> bool:
        return self.k_CGH.dtype == torch.float8_e4m3fn


class PagedCache:
    """Keys and values (L, C, S, G, H) of all sequences, and in FP8 their factors (L, C, G, S).

    A kernel reads the factors of one head for all keys of a block, so these lie behind one another.
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
            # A kernel may read behind a sequence's end and multiply by 0, but NaN * 0 is NaN. On a CPU
            # nothing reads there, and the machine gives no memory for pages that are never written.
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
        """Views of one layer."""
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
        """All tensors in which blocks have a part. FP8 is viewed as bytes, which torch can index."""
        keys = [
            one.view(torch.uint8) if one.dtype.itemsize == 1 else one for one in (self.k_LCSGH, self.v_LCSGH)
        ]
        scales = [self.k_scales_LCGS, self.v_scales_LCGS] if self.k_scales_LCGS.numel() else []
        return keys + scales
