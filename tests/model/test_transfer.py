"""Arrays arrive as they were sent, each at an address that wide loads can take."""

import numpy as np
import pytest
import torch

from model.transfer import StaticTensors, send, send_numbers

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ARRAYS = [
    np.arange(5, dtype=np.int32),
    np.zeros((0, 3), np.int32),
    np.arange(12, dtype=np.int32).reshape(2, 2, 3),
]


def test_arrays_arrive_in_their_shapes_and_aligned() -> None:
    there = send_numbers(ARRAYS, DEVICE)
    for tensor, array in zip(there, ARRAYS, strict=True):
        assert tensor.dtype == torch.int32
        assert tensor.device.type == DEVICE.type
        assert np.array_equal(tensor.cpu().numpy(), array)
        assert tensor.storage_offset() % 4 == 0


def test_slots_keep_their_place_and_take_new_numbers() -> None:
    fixed = StaticTensors(ARRAYS, DEVICE)
    before = [tensor.data_ptr() for tensor in fixed.tensors]
    fixed.update([array + 7 for array in ARRAYS])
    assert [tensor.data_ptr() for tensor in fixed.tensors] == before
    for tensor, array in zip(fixed.tensors, ARRAYS, strict=True):
        assert np.array_equal(tensor.cpu().numpy(), array + 7)


def test_slots_of_another_shape_are_a_mistake() -> None:
    with pytest.raises(AssertionError):
        StaticTensors(ARRAYS, DEVICE).update([ARRAYS[0][:4], *ARRAYS[1:]])


def test_a_tensor_is_sent_whole() -> None:
    tensor = torch.randn(3, 4)
    assert torch.equal(send(tensor, DEVICE).cpu(), tensor)


def test_numbers_of_another_type_are_a_mistake() -> None:
    with pytest.raises(AssertionError, match="int64"):
        send_numbers([np.arange(5)], DEVICE)
