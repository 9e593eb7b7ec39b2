"""Keys are found where they stand, whatever else is looked for with them."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.key_index import NOWHERE, KeyIndex, digests_of, hex_of

# Few halves, so that many keys share one of them, and some both.
HALVES = st.sampled_from([0, 1, 2**63, 2**64 - 1])
KEYS = st.builds(lambda first, last: f"{first:016x}{last:016x}", HALVES, HALVES)
OTHERS = st.sampled_from([None, "", "0" * 31, "0" * 33, "g" * 32, " " * 32, "é" * 16, "0 " * 16])


@given(st.lists(KEYS), st.lists(st.one_of(KEYS, OTHERS)), st.integers(1, 5), st.integers(0, 3))
def test_a_key_is_found_where_it_stands_first(
    listed: list[str], wanted: list[str | None], chunk: int, skipped: int
) -> None:
    chunks = [listed[start : start + chunk] for start in range(0, len(listed), chunk)]
    index = KeyIndex(pa.chunked_array(chunks, pa.string()))
    looked_up = pa.chunked_array([["f" * 32] * skipped + wanted], pa.string()).slice(skipped)
    expected = [listed.index(key) if key in listed else NOWHERE for key in wanted]
    assert index.places(looked_up).tolist() == expected
    assert index.places(looked_up.combine_chunks()).tolist() == expected
    assert index.repeated().tolist() == [place for place, key in enumerate(listed) if key in listed[:place]]


@given(st.lists(st.binary(min_size=16, max_size=16)))
def test_keys_are_the_same_as_numbers_and_back(keys: list[bytes]) -> None:
    strings = pa.array([key.hex() for key in keys], pa.string())
    assert hex_of(digests_of(strings)).equals(strings)


def test_what_is_no_key_is_not_listed() -> None:
    with pytest.raises(ValueError, match="a key is not 32 hex digits: xyz"):
        KeyIndex(pa.array(["0" * 32, "xyz"]))
