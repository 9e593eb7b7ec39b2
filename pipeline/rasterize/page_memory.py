"""Memory for the pixels of pages, which is used again once nobody looks at them any more.

In: a page as it was drawn. Out: a copy of its pixels. A worker draws thousands of pages of some sizes, and
holds a few at a time. Memory that is fresh from the system costs ten times as much as the copy (1.4 ms a page
of 784 x 1024 pixels against 0.1), since the kernel hands it out page by page.
"""

import weakref
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCKS: Final = 16  # that wait to be used again: as many as a stage hands over at a time
BLOCK_BYTES: Final = 4 * 2**20  # of one at most

_free: deque[NDArray[np.uint8]] = deque(maxlen=BLOCKS)  # each of its methods is one step for other threads


def copy(image: NDArray[np.uint8]) -> memoryview:
    """Its bytes in their order. Their memory is free when the view, and all that was made of it, is gone."""
    block = _take(image.size)
    lent = block[: image.size]
    lent.reshape(image.shape)[...] = image
    if block.size <= BLOCK_BYTES:
        weakref.finalize(lent, _free.append, block).atexit = False
    lent.flags.writeable = False
    # Not the array: arrays that are made of it hold the block, and so would not hold it.
    return lent.data


def _take(size: int) -> NDArray[np.uint8]:
    for _ in range(len(_free)):
        try:
            block = _free.popleft()
        except IndexError:  # another thread was faster
            break
        if size <= block.size <= 2 * size:
            return block
        _free.append(block)
    return np.empty(size, np.uint8)
