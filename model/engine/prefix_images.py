"""A group's prefix and its images: which tokens are patches, which images a chunk needs, and their features.

In: a checked group. Out: token ids and content names for the scheduler, and, for each chunk of the prefix,
the rows that are patches and what the vision encoder says of them. Features are kept from their encoding
until the prefill has passed their image.

Shapes: P patches, D width of the decoder, H W pixels of an image.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.engine.block_pool import block_names
from model.engine.request import Group
from model.network.preprocess import to_pixels

Encoder = Callable[[Sequence[Tensor]], Tensor]
"""Normalised images (3, H, W) -> features (P, D), image after image."""


@dataclass(eq=False)
class Picture:
    """One image of a prefix."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    """(height, width) in pixels at which the model sees it."""
    positions: NDArray[np.int64]
    """Of its patches' tokens in the prefix."""
    features_PD: Tensor | None = None

    def digest(self) -> bytes:
        """Equal for images that the model cannot tell apart, given equal tokens: same pixels, same size."""
        content = hashlib.blake2b(repr((self.pixels.shape, self.size)).encode(), digest_size=16)
        content.update(np.ascontiguousarray(self.pixels).data)
        return content.digest()


@dataclass(eq=False)
class Prefix:
    """A group's prefix: its tokens, and its images in their order."""

    ids: NDArray[np.int32]
    pictures: list[Picture] = field(default_factory=list)

    @classmethod
    def of(cls, group: Group, sizes: Sequence[tuple[int, int]], image_token_id: int, patch: int) -> "Prefix":
        """`sizes` are the images' as `check_prefix` gives them."""
        prefix = cls(np.array(group.prefix_ids, np.int32))
        positions = np.flatnonzero(prefix.ids == image_token_id)
        start = 0
        for pixels, (height, width) in zip(group.images, sizes, strict=True):
            end = start + height // patch * (width // patch)
            prefix.pictures.append(Picture(pixels, (height, width), positions[start:end]))
            start = end
        return prefix

    def names(self, size: int) -> list[bytes]:
        """The content names of its blocks of `size` tokens."""
        images = [(int(picture.positions[0]), picture.digest()) for picture in self.pictures]
        return block_names(self.ids, images, size)

    def needed(self, start: int, end: int) -> list[Picture]:
        """The images of which tokens `start` to `end` hold a patch."""
        return [
            picture
            for picture in self.pictures
            if picture.positions[0] < end and picture.positions[-1] >= start
        ]

    def patches(self, start: int, end: int) -> list[tuple[NDArray[np.int64], Tensor]]:
        """Each image in tokens `start` to `end`: its patches, counted from `start`, and their features."""
        parts = []
        for picture in self.needed(start, end):
            first, last = np.searchsorted(picture.positions, (start, end))
            assert picture.features_PD is not None, (start, end)
            parts.append((picture.positions[first:last] - start, picture.features_PD[first:last]))
        return parts

    def drop(self, end: int) -> None:
        """Forget the features of images that lie before `end`: their keys and values are in the cache."""
        for picture in self.pictures:
            if picture.positions[-1] < end:
                picture.features_PD = None


def encode(encoder: Encoder, pictures: Sequence[Picture], like: Tensor) -> None:
    """Compute the features of all these images in one batch, on the device and in the dtype of `like`."""
    images = [
        to_pixels(picture.pixels, *picture.size, device=like.device, dtype=like.dtype) for picture in pictures
    ]
    features_PD = encoder(images)
    lengths = [len(one.positions) for one in pictures]
    assert sum(lengths) == len(features_PD), (lengths, features_PD.shape)
    assert not torch.is_grad_enabled()
    for picture, part_PD in zip(pictures, features_PD.split(lengths), strict=True):
        # A view would keep the whole batch's features alive until the last image is prefilled.
        picture.features_PD = part_PD if len(pictures) == 1 else part_PD.clone()
