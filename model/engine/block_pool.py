"""Gives out the blocks of the paged KV cache: reference counts, content names, eviction. No torch.

In: numbers of blocks that sequences need, and the names of their prefixes' contents. Out: block numbers. A
block holds the keys and values of `size` consecutive tokens, of all layers. The branches of a prefix share
its blocks; a sequence that writes into a shared block must copy it first. A computed block can be published
under the name of its content. When no sequence refers to a published block any more, it can still be found
until the memory is needed; the least recently used block is evicted first.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def block_names(ids: NDArray[np.int32], images: Sequence[tuple[int, bytes]], size: int) -> list[bytes]:
    """A name for the content of each block, of which the last may be partial.

    Names are chained: a name stands for all tokens up to the end of its block. All image tokens look alike,
    so `images` gives the position of each image's first token and a digest of its pixels. The digest enters
    the name of the block in which the image begins, and through the chain all later names. Example: 7 tokens
    in blocks of 4 with an image at 5 have two names, of tokens 0 to 3, and of tokens 0 to 6 with the image.
    """
    names: list[bytes] = []
    name = b""
    for start in range(0, len(ids), size):
        tokens = ids[start : start + size]
        begun = [digest for at, digest in images if start <= at < start + size]
        content = hashlib.blake2b(name, digest_size=16)
        content.update(len(tokens).to_bytes(4, "little"))
        content.update(tokens.tobytes())
        content.update(b"".join(begun))
        name = content.digest()
        names.append(name)
    return names


class BlockPool:
    """`count` blocks of `size` tokens. A block is in use, or idle (unused, but findable), or plain free."""

    def __init__(self, count: int, size: int) -> None:
        if count < 1 or size < 1:
            raise ValueError(f"{count} blocks of {size} tokens: both must be at least 1")
        self.count = count
        self.size = size
        self._references = [0] * count
        self._names: list[bytes | None] = [None] * count
        self._found: dict[bytes, int] = {}
        self._plain = deque(range(count))
        self._idle: OrderedDict[int, None] = OrderedDict()  # the next one to be evicted comes first

    @property
    def free(self) -> int:
        """Blocks that `allocate` can give, counting idle ones, which it would evict."""
        return len(self._plain) + len(self._idle)

    def for_tokens(self, tokens: int) -> int:
        """The number of blocks that hold so many tokens."""
        return -(-tokens // self.size)

    def references(self, block: int) -> int:
        return self._references[block]

    def allocate(self, count: int) -> list[int]:
        """Blocks with one reference each. The caller must have seen that so many are free."""
        assert count <= self.free, (count, self.free)
        return [self._take() for _ in range(count)]

    def share(self, blocks: Iterable[int]) -> None:
        """One more reference to each block. Idle ones are in use again."""
        for block in blocks:
            if not self._references[block]:
                del self._idle[block]
            self._references[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """One reference less to each. A sequence's last blocks are evicted first: few others share them."""
        for block in reversed(blocks):
            assert self._references[block] > 0, (block, blocks)
            self._references[block] -= 1
            if self._references[block]:
                continue
            if self._names[block] is None:
                self._plain.append(block)
            else:
                self._idle[block] = None

    def find(self, names: Sequence[bytes]) -> list[int]:
        """The blocks of the longest published beginning of `names`. No reference is added: see `share`."""
        found: list[int] = []
        for name in names:
            block = self._found.get(name)
            if block is None:
                break
            found.append(block)
        return found

    def is_idle(self, block: int) -> bool:
        """Whether sharing the block takes one of the `free` ones."""
        return block in self._idle

    def publish(self, block: int, name: bytes) -> None:
        """The block is computed, and can be found from now on. Of equal blocks the first counts."""
        assert self._references[block] > 0, block
        if name not in self._found and self._names[block] is None:
            self._found[name] = block
            self._names[block] = name

    def _take(self) -> int:
        if self._plain:
            block = self._plain.popleft()
        else:
            block, _ = self._idle.popitem(last=False)
            name = self._names[block]
            assert name is not None, block
            del self._found[name]
            self._names[block] = None
        assert not self._references[block], block
        self._references[block] = 1
        return block
