"""The KV cache of one sequence, in one buffer a layer: the reference engine's.

In: each layer's new keys and values. Out: all keys and values of the sequence so far. Buffers grow ahead of
need. Sequences share nothing and nothing is evicted: `paged_cache` is for that.

Shapes: T new tokens of all sequences, S all tokens of all sequences, G key and value heads, H head width.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor


class ContiguousCache:
    """The keys and values of one sequence. `length` counts the tokens that all layers have written."""

    def __init__(self) -> None:
        self.length = 0
        self._layers: list[tuple[Tensor, Tensor]] = []

    def append(self, layer: int, k_TGH: Tensor, v_TGH: Tensor) -> tuple[Tensor, Tensor]:
        """Writes the layer's keys and values behind the first `length`; returns all of them so far."""
        end = self.length + len(k_TGH)
        if layer == len(self._layers):
            self._layers.append((k_TGH.new_empty(0, *k_TGH.shape[1:]), v_TGH.new_empty(0, *v_TGH.shape[1:])))
        k_SGH, v_SGH = self._layers[layer]
        if len(k_SGH) < end:
            k_SGH, v_SGH = self._grown(k_SGH, end), self._grown(v_SGH, end)
            self._layers[layer] = (k_SGH, v_SGH)
        k_SGH[self.length : end] = k_TGH
        v_SGH[self.length : end] = v_TGH
        return k_SGH[:end], v_SGH[:end]

    def branch(self) -> Self:
        """A copy that can grow independently, for a question that continues a computed prefix."""
        copy = type(self)()
        copy.length = self.length
        copy._layers = [
            (self._grown(k_SGH, self.length), self._grown(v_SGH, self.length))
            for k_SGH, v_SGH in self._layers
        ]
        return copy

    def _grown(self, old_SGH: Tensor, needed: int) -> Tensor:
        """A larger buffer with the same first `length` rows; an eighth more than needed, at least 64."""
        new_SGH = old_SGH.new_empty(needed + max(64, needed // 8), *old_SGH.shape[1:])
        new_SGH[: self.length] = old_SGH[: self.length]
        return new_SGH


def extend(
    caches: Sequence[ContiguousCache], lengths: Sequence[int], layer: int, k_TGH: Tensor, v_TGH: Tensor
) -> tuple[Tensor, Tensor]:
    """Appends each packed sequence's keys and values to its cache; returns all of them, packed (S, G, H)."""
    keys, values = k_TGH.split_with_sizes(lengths), v_TGH.split_with_sizes(lengths)
    parts = [cache.append(layer, k, v) for cache, k, v in zip(caches, keys, values, strict=True)]
    if len(parts) == 1:
        return parts[0]
    return torch.cat([k_SGH for k_SGH, _ in parts]), torch.cat([v_SGH for _, v_SGH in parts])
