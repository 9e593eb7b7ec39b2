"""A packed batch says where its tokens are."""

import numpy as np
import torch

from model.cache.batch import Batch, share_out, slot_mapping
from model.cache.plan import Chunk

CHUNKS = [
    Chunk("decodes", 9, 1, (7, 2, 5), True),
    Chunk("goes on", 5, 3, (1, 9), False),
    Chunk("begins", 0, 2, (3,), True),
]


def make_batch() -> Batch:
    return Batch(CHUNKS, np.zeros(6, np.int32), np.zeros((0, 2), np.int32), None, ())


def test_tokens_have_the_positions_of_their_sequences() -> None:
    assert make_batch().positions_T.tolist() == [9, 5, 6, 7, 0, 1]
    assert make_batch().starts.tolist() == [0, 1, 4, 6]


def test_rows_are_the_last_tokens_of_the_chunks_that_sample() -> None:
    assert make_batch().rows_R.tolist() == [0, 5]


def test_slots_follow_the_block_tables() -> None:
    """Position 9 in blocks of 4 is place 1 of the third block, 5: slot 21."""
    assert make_batch().slots_T(4).tolist() == [21, 37, 38, 39, 12, 13]
    assert slot_mapping(CHUNKS[0], 2, 6, 4).tolist() == [30, 31, 8, 9]


def test_all_numbers_are_of_the_type_that_is_sent() -> None:
    packed = make_batch()
    arrays = (packed.positions_T, packed.rows_R, packed.slots_T(4))
    assert [array.dtype for array in arrays] == [np.int32] * 3


def test_a_part_has_its_chunks_tokens_and_patches() -> None:
    features = torch.ones(1, 4), torch.ones(2, 4)
    whole = Batch(
        CHUNKS,
        np.arange(20, 26, dtype=np.int32),
        np.array([[0, 2], [5, 7]], np.int32),
        torch.arange(9),
        [(np.array([2]), features[0]), (np.array([4, 5]), features[1])],
    )
    part = whole.part([1, 2])
    assert part.chunks == CHUNKS[1:]
    assert part.ids_T.tolist() == [21, 22, 23, 24, 25]
    assert part.unknown_K2.tolist() == [[4, 7]]
    assert [(places.tolist(), rows) for places, rows in part.patches] == [
        ([1], features[0]),
        ([3, 4], features[1]),
    ]
    other = whole.part([0])
    assert (other.ids_T.tolist(), other.unknown_K2.tolist(), list(other.patches)) == ([20], [[0, 2]], [])


def test_shares_are_of_like_size() -> None:
    assert share_out([30, 10, 20, 10], 2) == [[0, 3], [1, 2]]
    assert share_out([4, 6, 8, 10, 12], 2) == [[0, 1, 4], [2, 3]]
    assert share_out([5], 3) == [[0], [], []]
    assert share_out([], 2) == [[], []]
