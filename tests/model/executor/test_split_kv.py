"""Every token reads each of its keys once, and what several share they read together."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.cache.plan import Chunk
from model.executor.split_kv import Work, divide

SIZE = 4
SYSTEM = tuple(range(100, 105))  # blocks that every page begins with


def readers(chunks: Sequence[Chunk], work: Work) -> Counter[tuple[int, int, int]]:
    """How often each token reads each slot, and for which key: (token, key, slot)."""
    count: Counter[tuple[int, int, int]] = Counter()
    for items in work.items:
        for tokens, (row, start, end) in zip(items.tokens_IQ, items.spans_I3, strict=True):
            for token in tokens[tokens >= 0].tolist():
                for key in range(start, min(end, work.limits_T[token])):
                    count[token, key, chunks[row].table[key // SIZE] * SIZE + key % SIZE] += 1
    return count


def expected(chunks: Sequence[Chunk]) -> Counter[tuple[int, int, int]]:
    """Token t of a chunk sees the keys of its own sequence up to its own."""
    count: Counter[tuple[int, int, int]] = Counter()
    token = 0
    for chunk in chunks:
        for place in range(chunk.start, chunk.start + chunk.count):
            for key in range(place + 1):
                count[token, key, chunk.table[key // SIZE] * SIZE + key % SIZE] += 1
            token += 1
    return count


def branch(number: int, page: Sequence[int], computed: int, count: int) -> Chunk:
    """A sequence that shares the blocks of `page`, has computed so many tokens behind them, and adds some."""
    start = len(page) * SIZE + computed
    own = -(-(start + count) // SIZE) - len(page)
    table = (*page, *(1000 + 50 * number + block for block in range(own)))
    return Chunk(number, start, count, table, True)


pages = st.sampled_from(
    [(), tuple(range(3)), tuple(range(9)), (*SYSTEM, *range(20, 28)), (*SYSTEM, *range(40, 46)), SYSTEM]
)


@given(
    branches=st.lists(st.tuples(pages, st.integers(0, 12), st.integers(1, 6)), min_size=1, max_size=9),
    widths=st.sampled_from([(1,), (2, 4), (4, 8, 16)]),
    target=st.integers(1, 40),
)
def test_each_token_reads_each_of_its_keys_once(
    branches: list[tuple[tuple[int, ...], int, int]], widths: tuple[int, ...], target: int
) -> None:
    chunks = [branch(number, *one) for number, one in enumerate(branches)]
    work = divide(chunks, size=SIZE, widths=widths, target=target)
    assert readers(chunks, work) == expected(chunks)


@given(
    branches=st.lists(st.tuples(pages, st.integers(0, 12), st.integers(1, 6)), min_size=1, max_size=9),
    target=st.integers(1, 40),
)
def test_places_are_one_apiece_and_each_tokens_lie_in_a_row(
    branches: list[tuple[tuple[int, ...], int, int]], target: int
) -> None:
    chunks = [branch(number, *one) for number, one in enumerate(branches)]
    work = divide(chunks, size=SIZE, widths=(2, 4), target=target)
    owners = {}
    for items, width in zip(work.items, (2, 4), strict=True):
        assert items.tokens_IQ.shape == items.places_IQ.shape == (len(items.spans_I3), width)
        for tokens, places in zip(items.tokens_IQ.tolist(), items.places_IQ.tolist(), strict=True):
            for token, place in zip(tokens, places, strict=True):
                if token >= 0:
                    assert place not in owners
                    owners[place] = token
    assert sorted(owners) == list(range(len(owners)))
    for token, (first, end) in enumerate(work.places_T2.tolist()):
        assert end > first
        assert {owners[place] for place in range(first, end)} == {token}


def spans(work: Work) -> list[tuple[list[int], int, int]]:
    """Tokens, first key and key after the last, of all items."""
    return [
        (tokens[tokens >= 0].tolist(), int(start), int(end))
        for items in work.items
        for tokens, (_, start, end) in zip(items.tokens_IQ, items.spans_I3, strict=True)
    ]


def test_branches_read_their_page_together_and_their_own_blocks_alone() -> None:
    chunks = [branch(number, tuple(range(6)), 2 + number, 1) for number in range(3)]
    work = divide(chunks, size=SIZE, widths=(1, 4), target=1)
    assert spans(work) == [([0], 24, 27), ([1], 24, 28), ([2], 24, 29), ([0, 1, 2], 0, 24)]


def test_pages_read_a_common_beginning_together_and_the_rest_page_by_page() -> None:
    one, other = (*SYSTEM, *range(20, 28)), (*SYSTEM, *range(40, 46))
    chunks = [branch(number, one if number < 2 else other, 1, 1) for number in range(4)]
    work = divide(chunks, size=SIZE, widths=(4,), target=1)
    assert sorted(spans(work)) == [
        ([0], 52, 54),
        ([0, 1], 20, 52),
        ([0, 1, 2, 3], 0, 20),
        ([1], 52, 54),
        ([2], 44, 46),
        ([2, 3], 20, 44),
        ([3], 44, 46),
    ]


def test_few_shared_blocks_are_not_worth_an_item() -> None:
    chunks = [branch(number, (0, 1, 2), 1, 1) for number in range(2)]
    assert spans(divide(chunks, size=SIZE, widths=(4,), target=1)) == [([0], 0, 14), ([1], 0, 14)]


def test_a_block_that_the_step_writes_into_is_not_shared() -> None:
    """Two that decode into what looks like one block: only the blocks before it can be common."""
    chunks = [Chunk(number, 22, 1, tuple(range(6)), True) for number in range(2)]
    assert spans(divide(chunks, size=SIZE, widths=(4,), target=1)) == [
        ([0, 1], 0, 20),
        ([0], 20, 23),
        ([1], 20, 23),
    ]


def test_a_question_of_many_tokens_is_cut_by_tokens_and_by_keys() -> None:
    chunks = [branch(0, tuple(range(4)), 0, 6)]
    work = divide(chunks, size=SIZE, widths=(4,), target=4)
    assert spans(work) == [
        ([0, 1, 2, 3], 0, 12),
        ([0, 1, 2, 3], 12, 20),
        ([4, 5], 0, 12),
        ([4, 5], 12, 22),
    ]


def test_the_first_tokens_of_a_question_read_no_further_than_they_see() -> None:
    work = divide([Chunk(0, 0, 16, tuple(range(4)), True)], size=SIZE, widths=(4,), target=1)
    assert [(tokens[-1], end) for tokens, _, end in spans(work)] == [(3, 4), (7, 8), (11, 12), (15, 16)]


def test_there_are_about_as_many_items_as_were_aimed_at() -> None:
    chunks = [branch(number, tuple(range(200 * number, 200 * number + 200)), 1, 1) for number in range(8)]
    for target in (8, 64, 256):
        items = sum(len(one.spans_I3) for one in divide(chunks, size=SIZE, widths=(4,), target=target).items)
        assert 0.5 * target <= items <= target + len(chunks)


def test_narrow_items_are_for_few_tokens() -> None:
    chunks = [branch(number, tuple(range(6)), 1, 1) for number in range(3)]
    work = divide(chunks, size=SIZE, widths=(2, 4), target=1)
    assert [len(items.spans_I3) for items in work.items] == [3, 1]
    assert np.array_equal(work.limits_T, [26, 26, 26])


def test_four_shared_blocks_are_worth_an_item() -> None:
    chunks = [branch(number, (0, 1, 2, 3), 1, 1) for number in range(2)]
    work = divide(chunks, size=SIZE, widths=(4,), target=1)
    assert spans(work) == [([0, 1], 0, 16), ([0], 16, 18), ([1], 16, 18)]


def test_an_equal_block_behind_different_ones_is_not_shared() -> None:
    chunks = [Chunk("one", 20, 1, (0, 1, 2, 3, 4, 5), True), Chunk("other", 20, 1, (0, 8, 2, 3, 4, 9), True)]
    assert spans(divide(chunks, size=SIZE, widths=(4,), target=1)) == [([0], 0, 21), ([1], 0, 21)]


trees = st.lists(
    st.tuples(st.lists(st.integers(0, 2), max_size=4), st.integers(0, 12), st.integers(1, 6)),
    min_size=1,
    max_size=9,
)
"""Sequences: the way to each through a tree of shared blocks, tokens computed behind it, and to compute."""


def planted(tree: Sequence[tuple[list[int], int, int]], size: int, blocks: int) -> list[Chunk]:
    """Sequences whose tables share so many blocks for each step that they go together from the root."""
    numbers: dict[tuple[object, ...], int] = {}

    def block(*name: object) -> int:
        return numbers.setdefault(name, len(numbers))

    chunks = []
    for index, (way, computed, count) in enumerate(tree):
        shared = [block(*way[: depth + 1], at) for depth in range(len(way)) for at in range(blocks)]
        start = len(shared) * size + computed
        own = -(-(start + count) // size) - len(shared)
        table = (*shared, *(block("own", index, at) for at in range(own)))
        chunks.append(Chunk(index, start, count, table, True))
    return chunks


@given(tree=trees, blocks=st.integers(1, 9), size=st.integers(1, 5), target=st.integers(1, 40))
def test_each_token_reads_each_of_its_keys_once_however_deep_they_are_shared(
    tree: list[tuple[list[int], int, int]], blocks: int, size: int, target: int
) -> None:
    chunks = planted(tree, size, blocks)
    read: Counter[tuple[int, int, int]] = Counter()
    work = divide(chunks, size=size, widths=(2, 4), target=target)
    for items in work.items:
        for tokens, (row, start, end) in zip(items.tokens_IQ, items.spans_I3, strict=True):
            for token in tokens[tokens >= 0].tolist():
                for key in range(start, min(end, work.limits_T[token])):
                    read[token, key, chunks[row].table[key // size]] += 1
    ends = [(one, one.start + more) for one in chunks for more in range(1, one.count + 1)]
    assert read == Counter(
        (token, key, one.table[key // size]) for token, (one, end) in enumerate(ends) for key in range(end)
    )


@given(tree=trees, blocks=st.integers(1, 9), size=st.integers(1, 5), target=st.integers(1, 40))
def test_an_item_names_no_token_that_sees_none_of_its_keys(
    tree: list[tuple[list[int], int, int]], blocks: int, size: int, target: int
) -> None:
    """The kernel divides by what a token has seen: nothing would be NaN, and stay it in the merge."""
    work = divide(planted(tree, size, blocks), size=size, widths=(2, 4), target=target)
    for items in work.items:
        for tokens, (_, start, _) in zip(items.tokens_IQ, items.spans_I3, strict=True):
            assert (work.limits_T[tokens[tokens >= 0]] > start).all()


@given(tree=trees, blocks=st.integers(4, 9), size=st.integers(1, 5), target=st.integers(1, 40))
def test_shared_blocks_are_read_once_for_all(
    tree: list[tuple[list[int], int, int]], blocks: int, size: int, target: int
) -> None:
    chunks = planted(tree, size, blocks)
    tokens = sum(chunk.count for chunk in chunks)
    (items,) = divide(chunks, size=size, widths=(tokens,), target=target).items
    read = Counter(
        (chunks[row].table[key // size], key % size)
        for row, start, end in items.spans_I3.tolist()
        for key in range(start, end)
    )
    assert set(read.values()) == {1}


@given(tree=trees, blocks=st.integers(1, 9), size=st.integers(1, 5), target=st.integers(1, 40))
def test_items_are_no_more_than_aimed_at_and_one_a_span(
    tree: list[tuple[list[int], int, int]], blocks: int, size: int, target: int
) -> None:
    """Where one item is aimed at, each span is one."""
    chunks = planted(tree, size, blocks)
    items, whole = (
        sum(len(one.spans_I3) for one in divide(chunks, size=size, widths=(2, 4), target=aim).items)
        for aim in (target, 1)
    )
    assert items <= target + whole
