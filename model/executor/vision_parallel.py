"""Data-parallel vision encoding: each rank encodes some of a step's images, and rank 0 gets all features.

In: on rank 0 the images, on every rank their sizes. Out: on rank 0 the features, in the order of the images.
The encoder is small and images do not depend on one another, so each rank has the whole encoder and computes
alone.

Shapes: I images, P patches, D width, N ranks, X pixel values of one rank's images.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.cache.batch import share_out
from model.collectives.world import World
from model.network.pixtral import Pixtral


class ParallelVisionEncoder:
    """The encoder of all ranks together."""

    def __init__(self, model: Pixtral, encode: Callable[[Sequence[Tensor]], Tensor], world: World) -> None:
        self._vision = model.config.vision
        self._like = model.norm.weight
        self._encode = encode
        self._world = world

    def __call__(self, sizes_I2: NDArray[np.int32], images: Sequence[Tensor] | None) -> Tensor | None:
        """Features (P, D) on rank 0, which passes the images. `sizes_I2` are their heights and widths."""
        side, channels = self._vision.patch_size, self._vision.num_channels
        patches = [height // side * (width // side) for height, width in sizes_I2.tolist()]
        numbers = [channels * height * width for height, width in sizes_I2.tolist()]
        shares = share_out(patches, self._world.size)
        # Collectives move equally much for each rank: shorter shares are padded.
        longest = max(sum(numbers[image] for image in share) for share in shares)
        sent_NX = None
        if images is not None:
            sent_NX = self._like.new_zeros(self._world.size, longest)
            for row_X, share in zip(sent_NX, shares, strict=True):
                if share:
                    flat = torch.cat([images[image].flatten() for image in share])
                    row_X[: len(flat)] = flat
        mine_X = self._world.scatter(self._like.new_empty(longest), sent_NX)
        share = shares[self._world.rank]
        flats = mine_X[: sum(numbers[image] for image in share)].split([numbers[image] for image in share])
        most = max(sum(patches[image] for image in one) for one in shares)
        features_PD = self._like.new_zeros(most, len(self._like))
        if share:
            mine_PD = self._encode(
                [
                    flat.view(channels, *sizes_I2[image].tolist())
                    for flat, image in zip(flats, share, strict=True)
                ]
            )
            features_PD[: len(mine_PD)] = mine_PD
        parts_NPD = self._world.gather(features_PD)
        if parts_NPD is None:
            return None
        found: dict[int, Tensor] = {}
        for part_PD, owned in zip(parts_NPD, shares, strict=True):
            lengths = [patches[image] for image in owned]
            found |= zip(owned, part_PD[: sum(lengths)].split(lengths), strict=True)
        return torch.cat([found[image] for image in range(len(patches))])
