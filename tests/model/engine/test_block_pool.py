"""Blocks are given out once, come back once, and are found by their content while nobody needs their room."""

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from model.engine.block_pool import BlockPool, block_names

COUNT, SIZE = 6, 4


def names(ids: list[int], images: list[tuple[int, bytes]] | None = None) -> list[bytes]:
    return block_names(np.array(ids, np.int32), images or [], SIZE)


def test_names_are_those_of_everything_up_to_the_block() -> None:
    whole = names([1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert len(whole) == 3
    assert names([1, 2, 3, 4, 5, 6, 7, 8]) == whole[:2]
    assert names([1, 2, 3, 4, 5, 6, 7, 0, 9])[0] == whole[0]
    assert set(names([1, 2, 3, 4, 5, 6, 7, 0, 9])[1:]).isdisjoint(whole)
    assert set(names([0, 2, 3, 4, 5, 6, 7, 8, 9])).isdisjoint(whole)
    assert names([1, 2, 3, 4, 5, 6])[1] != whole[1]
    assert names([]) == []


def test_names_tell_images_apart_from_the_block_on_in_which_they_begin() -> None:
    ids = [1, 3, 5, 7, 3, 10, 10, 10, 10, 10]
    one, other = names(ids, [(5, b"a" * 16)]), names(ids, [(5, b"b" * 16)])
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[2] != other[2]
    assert one == names(ids, [(5, b"a" * 16)])


def test_least_recently_used_content_makes_room_and_tails_go_first() -> None:
    blocks = BlockPool(4, SIZE)
    old, new = blocks.allocate(2), blocks.allocate(1)
    for block, name in zip([*old, *new], (b"o1", b"o2", b"n1"), strict=True):
        blocks.publish(block, name)
    blocks.release(old)
    blocks.release(new)
    assert blocks.free == 4
    assert blocks.allocate(1) == [3]  # plain free blocks first
    blocks.allocate(1)
    assert blocks.find([b"o1", b"o2"]) == [old[0]]
    blocks.share([old[0]])
    assert blocks.find([b"n1"]) == new
    blocks.allocate(1)
    assert blocks.find([b"n1"]) == []
    assert blocks.free == 0


def test_of_equal_contents_the_first_is_kept() -> None:
    blocks = BlockPool(2, SIZE)
    first, second = blocks.allocate(2)
    blocks.publish(first, b"x")
    blocks.publish(second, b"x")
    blocks.release([first, second])
    assert blocks.find([b"x"]) == [first]
    assert not blocks.is_idle(second)


def test_blocks_have_a_size() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BlockPool(0, SIZE)


class BlocksMachine(RuleBasedStateMachine):
    """Any sequence of operations against a plain count of who holds what."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = BlockPool(COUNT, SIZE)
        self.held: list[list[int]] = []
        self.contents: dict[int, bytes] = {}

    @rule(count=st.integers(1, 3))
    def allocate(self, count: int) -> None:
        if count > self.blocks.free:
            return
        table = self.blocks.allocate(count)
        assert len(set(table)) == count
        assert not {block for held in self.held for block in held} & set(table)
        for block in table:
            self.contents.pop(block, None)
        self.held.append(table)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        table = data.draw(st.sampled_from(self.held))
        self.blocks.share(table)
        self.held.append(list(table))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        table = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.blocks.release(table)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), name=st.sampled_from([b"a", b"b", b"c"]))
    def publish(self, data: st.DataObject, name: bytes) -> None:
        block = data.draw(st.sampled_from(data.draw(st.sampled_from(self.held))))
        self.blocks.publish(block, name)
        if name not in self.contents.values():
            self.contents.setdefault(block, name)

    @rule(name=st.sampled_from([b"a", b"b", b"c"]))
    def find(self, name: bytes) -> None:
        found = self.blocks.find([name])
        assert found == [block for block, content in self.contents.items() if content == name]
        self.blocks.share(found)
        if found:
            self.held.append(found)

    @invariant()
    def references_are_those_held(self) -> None:
        held = [block for table in self.held for block in table]
        assert [self.blocks.references(block) for block in range(COUNT)] == [
            held.count(block) for block in range(COUNT)
        ]
        assert self.blocks.free == COUNT - len(set(held))


TestBlocksMachine = BlocksMachine.TestCase
