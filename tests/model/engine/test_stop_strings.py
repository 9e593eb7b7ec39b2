"""Stop strings are found wherever the borders of tokens are."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from model.engine.stop_strings import StopStrings

LETTERS = st.text("abé", min_size=1, max_size=4)


@given(tokens=st.lists(st.text("abé", max_size=5)), stops=st.lists(LETTERS, min_size=1, max_size=3))
def test_the_first_token_that_completes_one_tells_where_it_began(tokens: list[str], stops: list[str]) -> None:
    watch = StopStrings(stops)
    for so_far, token in zip(accumulate(tokens), tokens, strict=True):
        starts = [so_far.index(stop) for stop in stops if stop in so_far]
        found = watch.find(token.encode())
        assert found == (len(so_far[: min(starts)].encode()) if starts else None)
        if starts:
            return


def test_a_stop_string_may_begin_and_end_within_a_character() -> None:
    watch = StopStrings(["é!"])
    assert [watch.find(token) for token in (b"a\xc3", b"\xa9", b"b\xc3", b"\xa9!c")] == [None, None, None, 4]
