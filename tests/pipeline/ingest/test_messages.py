"""Messages in OpenAI's form become turns, whatever the column's form; what is none is told in a sentence."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.messages import Image, Turn, read_turns, to_json


def turns(value: Any) -> list[Turn]:
    return read_turns(to_json(value, "row", lambda address: f"/in/{address}"))


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


HELLO = {"role": "user", "content": "Hello?"}
URL = {"type": "image_url", "image_url": {"url": "a.png"}}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "Who?"}, "Who?"),
        (URL, Image(address="/in/a.png")),
        ({"type": "image_url", "image_url": {"url": "a.png", "detail": "high"}}, Image(address="/in/a.png")),
        ({"type": "image_url", "image_url": "a.png"}, Image(address="/in/a.png")),
        ({"type": "image_url", "image_url": {"url": "data:,x"}}, Image(address="data:,x")),
        ({"type": "image", "image": "a.png"}, Image(address="/in/a.png")),
        ({"type": "image", "image": b"abc"}, Image(address="data:;base64,YWJj")),
        ({"type": "image", "image": {"bytes": b"abc", "path": "a.png"}}, Image(address="data:;base64,YWJj")),
        ({"type": "image", "image": {"bytes": None, "path": "a.png"}}, Image(address="/in/a.png")),
        # As a struct of Arrow has it, in which what is not there is null.
        ({"type": "text", "text": "Who?", "image_url": None, "image": None}, "Who?"),
    ],
)
def test_a_part_is_text_or_an_image(part: dict[str, Any], expected: str | Image) -> None:
    assert turns([user(part)]) == [Turn(role="user", parts=(expected,))]


def test_a_list_and_its_json_are_the_same() -> None:
    value = [
        {"role": "system", "content": "Be brief."},
        user({"type": "text", "text": "é"}, URL),
        {"role": "assistant", "content": "No."},
        HELLO,
    ]
    whole = to_json(value, "row", str)
    assert to_json(json.dumps(value), "row", str) == to_json(json.dumps(value).encode(), "row", str) == whole
    assert [turn.role for turn in read_turns(whole)] == ["system", "user", "assistant", "user"]
    null = [message | {"name": None, "tool_calls": None} for message in value]
    assert to_json(null, "row", str) == whole


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{", "it is not JSON: "),
        ("[" * 100_000, "it is not JSON: "),
        ("7", "no list of messages"),
        ([], "or an empty one"),
        (["hello"], "message 1 is no object"),
        ([{"content": "x"}], "message 1 has the role None"),
        ([HELLO, {"role": "tool", "content": "x"}], "message 2 has the role 'tool'; known are system, user"),
        ([{"role": "user" * 99, "content": "x"}], r"the role '(user){9}use\.\.\."),
        ([{"role": "user", "content": 7}], "the content of message 1 is neither text nor a list"),
        ([HELLO | {"tool_calls": [{}]}], "message 1 has 'tool_calls'"),
        ([user("text")], "part 1 of message 1 is no object"),
        ([user({"type": "input_audio"})], "has the type 'input_audio'; known are text, image_url and image"),
        ([user({"type": "image_url", "image_url": None})], "is of the type image_url, and has none"),
        ([user({"type": "text", "text": 7})], "is of the type text, and has none"),
        ([user({"type": "image", "image": {"bytes": None, "path": None}})], "type image, and has none"),
        ([HELLO, {"role": "assistant", "content": "Yes."}], "the last message is not the user's"),
        ([{"role": "system", "content": "x"}], "the last message is not the user's"),
        ([user({"type": "text", "text": ""})], "the user's messages are empty"),
        ([HELLO, {"role": "assistant", "content": ""}, HELLO], "message 2 of the assistant has no text"),
        ([user(URL) | {"role": "system"}, HELLO], "message 1 of the system holds an image"),
    ],
)
def test_what_is_no_conversation_is_told_in_a_sentence(value: Any, why: str) -> None:
    with pytest.raises(DocumentError, match=why) as raised:
        turns(value)
    assert raised.value.reason == "bad_messages"
    assert raised.value.message.startswith("row is no conversation: ")
    assert len(raised.value.message) < 200
    raised.value.message.encode()  # a table can hold it


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "image", "image_url", "url"]), inner
        )
    ),
    max_leaves=12,
)


@given(ANYTHING)
def test_anything_is_a_conversation_or_refused(value: Any) -> None:
    try:
        reason, found = None, turns(value)
    except DocumentError as error:
        reason, found = error.reason, []
    assert (reason is None) == bool(found)
    assert reason in (None, "bad_messages")
