"""An answer's pieces are its text, however it is cut into tokens: no stop string in it, no half character."""

from hypothesis import given
from hypothesis import strategies as st

from model.text.text_stream import TextStream, answer_text


def single_bytes(id: int) -> bytes:
    return bytes([id])


@given(
    text=st.text(alphabet="aENDé€🙂", max_size=12),
    stop=st.sampled_from(["END", "é€", "a"]),
    step=st.integers(1, 4),
)
def test_the_pieces_are_the_answer(text: str, stop: str, step: int) -> None:
    data = text.encode()
    at = data.find(stop.encode())
    stopped_at = None if at < 0 else at
    if stopped_at is not None:
        data = data[: at + len(stop.encode())]
    stream = TextStream(single_bytes, [stop])
    pieces = [stream.take(data[:end]) for end in range(0, len(data), step)]
    whole = answer_text(single_bytes, data, stopped_at)
    assert "".join([*pieces, stream.rest(whole)]) == whole
    assert whole == text.partition(stop)[0]
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_are_no_character_are_replaced() -> None:
    stream = TextStream(single_bytes)
    assert stream.take(b"a\xff\xe2\x82") == "a\ufffd"
    assert stream.rest(answer_text(single_bytes, b"a\xff\xe2\x82", None)) == "\ufffd"
