"""A group's prefix and its images: which tokens are patches, which images a chunk needs, and their features.

In: a checked group. Out: token ids and content names for the scheduler, and for each chunk of the prefix the
rows that are patches, with their features from the vision encoder. Features are kept until the prefill has
computed all tokens of their image.

Shapes: P patches, D width of the decoder, H W pixels of an image.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakValueDictionary

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
class PrefixImage:
    """One image of a prefix."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    """(height, width) in pixels at which the model sees it."""
    positions: NDArray[np.int64]
    """Positions of its patches in the prefix."""
    features_PD: Tensor | None = None

    @cached_property
    def digest(self) -> bytes:
        """A digest of pixels and size. With equal tokens, images of equal digest give equal answers."""
        content = hashlib.blake2b(repr((self.pixels.shape, self.size)).encode(), digest_size=16)
        content.update(np.ascontiguousarray(self.pixels).data)
        return content.digest()


@dataclass(eq=False)
class Prefix:
    """A group's prefix: its tokens, and its images in their order."""

    ids: NDArray[np.int32]
    images: list[PrefixImage] = field(default_factory=list)

    @classmethod
    def of(cls, group: Group, sizes: Sequence[tuple[int, int]], image_token_id: int, patch: int) -> "Prefix":
        """`sizes` are those that `check_prefix` gives."""
        prefix = cls(np.array(group.prefix_ids, np.int32))
        positions = np.flatnonzero(prefix.ids == image_token_id)
        start = 0
        for pixels, (height, width) in zip(group.images, sizes, strict=True):
            end = start + height // patch * (width // patch)
            prefix.images.append(PrefixImage(pixels, (height, width), positions[start:end]))
            start = end
        return prefix

    def names(self, size: int) -> list[bytes]:
        """The content names of its blocks of `size` tokens."""
        images = [(int(image.positions[0]), image.digest) for image in self.images]
        return block_names(self.ids, images, size)

    def needed(self, start: int, end: int) -> list[PrefixImage]:
        """The images that have a patch among tokens `start` to `end`."""
        return [image for image in self.images if image.positions[0] < end and image.positions[-1] >= start]

    def patches(self, start: int, end: int) -> list[tuple[NDArray[np.int64], Tensor]]:
        """For each image in tokens `start` to `end`: patches, counted from `start`, and their features."""
        parts = []
        for image in self.needed(start, end):
            first, last = np.searchsorted(image.positions, (start, end))
            assert image.features_PD is not None, (start, end)
            parts.append((image.positions[first:last] - start, image.features_PD[first:last]))
        return parts

    def drop(self, end: int) -> None:
        """Forgets the features of images before position `end`: their keys and values are in the cache."""
        for image in self.images:
            if image.positions[-1] < end:
                image.features_PD = None


class ImageEncoder:
    """Computes images' features, on the device and in the dtype of `like`; equal images share theirs."""

    def __init__(self, encoder: Encoder, like: Tensor) -> None:
        self._encoder = encoder
        self._like = like
        # By digest: those that some image holds.
        self._held: WeakValueDictionary[bytes, Tensor] = WeakValueDictionary()

    def has_features(self, image: PrefixImage) -> bool:
        """Whether the image has features, of its own or, from now on, those of an equal one."""
        if image.features_PD is None:
            image.features_PD = self._held.get(image.digest)
        return image.features_PD is not None

    def encode(self, images: Iterable[PrefixImage]) -> None:
        """Computes the features of all images in one batch, of equal ones once."""
        distinct: dict[bytes, list[PrefixImage]] = {}
        for image in images:
            distinct.setdefault(image.digest, []).append(image)
        first = [equal[0] for equal in distinct.values()]
        device, dtype = self._like.device, self._like.dtype
        features_PD = self._encoder(
            [to_pixels(image.pixels, *image.size, device=device, dtype=dtype) for image in first]
        )
        lengths = [len(image.positions) for image in first]
        assert sum(lengths) == len(features_PD), (lengths, features_PD.shape)
        assert not torch.is_grad_enabled()
        for (digest, equal), part_PD in zip(distinct.items(), features_PD.split(lengths), strict=True):
            # A view would keep the whole batch's features alive until the last image is prefilled.
            self._held[digest] = own_PD = part_PD if len(first) == 1 else part_PD.clone()
            for image in equal:
                image.features_PD = own_PD
