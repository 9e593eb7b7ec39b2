"""Who owns which block of the paged KV cache: reference counts, content names, eviction. No torch.

In: how many tokens a sequence needs room for, and the names of its prefix's contents. Out: block numbers.
A block holds `size` consecutive tokens' keys and values of all layers. Branches of a prefix share its
blocks; who writes into a shared block must copy it first. A computed block can be published under the name
of its content; when nobody refers to it any more it stays findable until its room is needed, least recently
used first.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def block_names(ids: NDArray[np.int32], images: Sequence[tuple[int, bytes]], size: int) -> list[bytes]:
    """A name for each block's content, the last one perhaps partial: chained, so that a name stands for all
    tokens up to its block's end.

    `images` are the positions of each image's first token and a digest of its pixels: image tokens all look
    alike. The digest enters where the image begins, and everything after it hangs on it through the chain.
    7 tokens in blocks of 4 with an image at 5: names of tokens 0 to 3, and of tokens 0 to 6 with the image.
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
    """`count` blocks of `size` tokens. A block is referred to, or findable, or plain free."""

    def __init__(self, count: int, size: int) -> None:
        if count < 1 or size < 1:
            raise ValueError(f"{count} blocks of {size} tokens: both must be at least 1")
        self.count = count
        self.size = size
        self._references = [0] * count
        self._names: list[bytes | None] = [None] * count
        self._found: dict[bytes, int] = {}
        self._plain = deque(range(count))
        self._idle: OrderedDict[int, None] = OrderedDict()  # unreferred but findable, next victim first

    @property
    def free(self) -> int:
        """Blocks that `allocate` can give, counting those whose content it would forget."""
        return len(self._plain) + len(self._idle)

    def for_tokens(self, tokens: int) -> int:
        """Blocks that hold so many tokens."""
        return -(-tokens // self.size)

    def references(self, block: int) -> int:
        return self._references[block]

    def allocate(self, count: int) -> list[int]:
        """Blocks with one reference each; the caller has seen that so many are free."""
        assert count <= self.free, (count, self.free)
        return [self._take() for _ in range(count)]

    def share(self, blocks: Iterable[int]) -> None:
        """One more reference to each, also to findable ones that nobody refers to."""
        for block in blocks:
            if not self._references[block]:
                del self._idle[block]
            self._references[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """One reference less to each. The last ones are evicted first, since others rarely share them."""
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
        """The blocks that hold the longest published beginning of `names`; they are not yet shared."""
        found: list[int] = []
        for name in names:
            block = self._found.get(name)
            if block is None:
                break
            found.append(block)
        return found

    def is_idle(self, block: int) -> bool:
        """Whether nobody refers to it, so that sharing it takes one of the free ones."""
        return block in self._idle

    def publish(self, block: int, name: bytes) -> None:
        """Its content is computed and can be found from now on. Of equal contents the first is kept."""
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
