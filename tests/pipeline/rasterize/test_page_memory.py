"""Pages keep their pixels for as long as anybody looks at them, and then their memory is used again."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.rasterize import page_memory
from pipeline.rasterize.page_memory import BLOCK_BYTES, BLOCKS, copy


@pytest.fixture(autouse=True)
def nothing_free() -> Iterator[None]:
    page_memory._free.clear()
    yield
    page_memory._free.clear()


def image(value: int, height: int = 30) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.full((height, 20, 3), value, np.uint8)


def address(view: memoryview) -> int:
    return np.frombuffer(view, np.uint8).ctypes.data


def test_memory_is_used_again_once_a_page_is_gone() -> None:
    first = copy(image(1))
    where = address(first)
    second = copy(image(2))
    assert address(second) != where
    del first
    assert address(copy(image(3))) == where
    assert bytes(second) == bytes([2]) * 1800
    assert second.readonly


MADE: dict[str, Callable[[memoryview], Any]] = {
    "array": lambda page: np.frombuffer(page, np.uint8),
    "shaped": lambda page: np.frombuffer(page, np.uint8).reshape(30, 20, 3)[1:],
    "slice": lambda page: page[5:],
    "buffer": lambda page: pa.py_buffer(page).slice(10),
    "column": lambda page: pa.Array.from_buffers(pa.uint8(), 1800, [None, pa.py_buffer(page)]).slice(3),
}


@pytest.mark.parametrize("how", MADE)
def test_what_was_made_of_a_page_keeps_it(how: str) -> None:
    made = MADE[how](copy(image(7)))
    others = [copy(image(9)) for _ in range(3)]
    assert len(page_memory._free) == 0, "nothing came back"
    assert set(np.asarray(made).ravel().tolist()) == {7}
    del made, others
    assert len(page_memory._free) == 4


def test_little_is_kept_and_nothing_large() -> None:
    pages = [copy(image(number)) for number in range(BLOCKS + 3)]
    pages.append(copy(np.zeros((1, BLOCK_BYTES // 3 + 1, 3), np.uint8)))
    pages.clear()
    assert len(page_memory._free) == BLOCKS
    assert max(block.size for block in page_memory._free) == 1800


def test_a_small_page_does_not_take_the_memory_of_a_large_one() -> None:
    large = copy(image(1, height=300))
    where = address(large)
    del large
    assert address(copy(image(2, height=100))) != where
    assert address(copy(image(3, height=200))) == where
