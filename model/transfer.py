"""Copies arrays from the host to the device, many small ones in one copy, without waiting for the device.

A copy from ordinary memory makes the host wait until the device has done all its work so far. Here arrays go
through page-locked memory, which torch keeps until the copy is done.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ALIGNED = 4  # numbers, that is 16 bytes: Triton compiles the kernels' wide loads for this alignment


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def send_numbers(arrays: Sequence[NDArray[np.int32]], device: torch.device) -> list[Tensor]:
    """int32 arrays as tensors of their shapes on the device."""
    offsets, flat = _flattened(arrays, pinned=device.type == "cuda")
    there = flat.to(device, non_blocking=True)
    return _views(arrays, offsets, there)


class StaticTensors:
    """Tensors whose numbers change but whose memory on the device stays: a CUDA graph's inputs."""

    def __init__(self, arrays: Sequence[NDArray[np.int32]], device: torch.device) -> None:
        self._offsets, flat = _flattened(arrays, pinned=device.type == "cuda")
        self._flat = flat.to(device)
        self._shapes = [array.shape for array in arrays]
        self.tensors = _views(arrays, self._offsets, self._flat)

    def update(self, arrays: Sequence[NDArray[np.int32]]) -> None:
        """Replaces the numbers by those of arrays of the same shapes."""
        assert [array.shape for array in arrays] == self._shapes, self._shapes
        _, flat = _flattened(arrays, pinned=self._flat.is_cuda)
        self._flat.copy_(flat, non_blocking=True)


def _flattened(arrays: Sequence[NDArray[np.int32]], *, pinned: bool) -> tuple[list[int], Tensor]:
    """The offset of each array in one flat tensor, and that tensor."""
    offsets, end = [], 0
    for array in arrays:
        assert array.dtype == np.int32, array.dtype
        offsets.append(end)
        end += -(-array.size // _ALIGNED) * _ALIGNED
    flat = torch.zeros(end, dtype=torch.int32, pin_memory=pinned)
    there = flat.numpy()
    for array, offset in zip(arrays, offsets, strict=True):
        there[offset : offset + array.size] = array.ravel()
    return offsets, flat


def _views(arrays: Sequence[NDArray[np.int32]], offsets: Sequence[int], flat: Tensor) -> list[Tensor]:
    return [
        flat[offset : offset + array.size].view(array.shape)
        for array, offset in zip(arrays, offsets, strict=True)
    ]
