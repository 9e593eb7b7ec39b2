"""A value has the confidence of the tokens that wrote it, and each token has its place in the text."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.text.tokenizer import Tokenizer
from pipeline.parse.answers import value_spans
from pipeline.parse.confidence import confidences, token_places

TOKENIZER = Tokenizer.from_file(Path("model/nano/tekken.json"))


def test_a_value_has_the_confidence_of_its_own_tokens() -> None:
    tokens = [b'{"a"', b": ", b"1", b"2", b', "b": "', b"x", b'"}']
    text = b"".join(tokens).decode()
    assert [text[leaf.start : leaf.end] for leaf in value_spans(text)] == ["12", '"x"']
    a, b = confidences(
        [(leaf.start, leaf.end) for leaf in value_spans(text)],
        *_bytewise(tokens, [-1.0, -2.0, -0.25, -0.5, -0.75, -0.125, -3.0]),
    )
    assert a == pytest.approx(math.exp(-0.25 - 0.5))
    # Bytewise, the quotes have their own tokens: each shares its token's log-probability.
    assert b == pytest.approx(math.exp(-0.75 / 8 - 0.125 - 3.0 / 2))


def _bytewise(tokens: list[bytes], logprobs: list[float]) -> tuple[list[int], list[float], Tokenizer]:
    ids = [1000 + byte for token in tokens for byte in token]
    spread = [value / len(token) for token, value in zip(tokens, logprobs, strict=True) for _ in token]
    return ids, spread, TOKENIZER


def test_a_token_that_straddles_the_edge_counts() -> None:
    ids = [*TOKENIZER.encode(" the"), 1000 + 0xC3, 1000 + 0xA9, TOKENIZER.eos]
    assert TOKENIZER.decode(ids) == " theé"
    before, accent = confidences([(1, 4), (4, 5)], ids, [-1.0, -2.0, -4.0, -8.0], TOKENIZER)
    assert before == pytest.approx(math.exp(-1.0))
    assert accent == pytest.approx(math.exp(-6.0))


@given(st.lists(st.binary(max_size=3), max_size=12))
def test_tokens_cover_the_text_in_order_and_without_gaps(tokens: list[bytes]) -> None:
    places = token_places(tokens)
    length = len(b"".join(tokens).decode("utf-8", errors="replace"))
    assert {at for start, end in places for at in range(start, end)} == set(range(length))
    assert places == sorted(places)
    assert all(a[1] <= b[1] for a, b in pairwise(places))


@given(st.text(max_size=20))
def test_valid_text_is_placed_character_by_character(text: str) -> None:
    data = text.encode("utf-8", errors="replace")
    singles = token_places([bytes([byte]) for byte in data])
    lengths = [len(character.encode()) for character in data.decode()]
    assert singles == [(at, at + 1) for at, length in enumerate(lengths) for _ in range(length)]
