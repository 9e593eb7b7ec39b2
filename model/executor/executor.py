"""The interface between an engine and the computation: an executor has the model's weights and its KV cache.

In: packed batches, and images. Out: logits and image features. There are three executors: plain torch
(`eager`), a GPU's kernels (`cuda`), and several ranks together (`parallel.lockstep`). None knows requests.

Shapes: R rows that sample, P patches, D width, V vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from model.cache.batch import Batch
from model.cache.paged_cache import PagedCache

REQUEST_ERRORS = (ValueError, RuntimeError, MemoryError)
"""The errors that one request can cause in its own computation. ValueError: the request is wrong, or the
model's numbers are. RuntimeError and MemoryError: torch could not compute it, mostly for want of memory."""


def check_device(device: torch.device) -> None:
    """After an error: torch.AcceleratorError if the device is lost, and no request can be computed on it.

    Not all of a GPU's libraries say so: what cuBLAS or Triton raise is a RuntimeError, as one request's is.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Executor(Protocol):
    """Computes batches over its cache."""

    @property
    def cache(self) -> PagedCache:
        """The keys and values of all sequences."""

    def encode(self, images: Sequence[Tensor]) -> Tensor:
        """Normalised images (3, H, W) -> features (P, D), image after image."""

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy cache blocks (from, to), all at once."""

    def step(self, batch: Batch) -> Tensor:
        """Logits (R, V) of a batch whose shorter chunks come first."""
