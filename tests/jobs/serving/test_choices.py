"""An answer in pieces: text and tokens in step, also when it is written again after a death of the engine."""

import pytest

from jobs.serving.choices import LEAST, Choice, failure
from jobs.serving.errors import ApiError
from model.engine.request import Completion, FinishReason, Progress

WORDS = [b"The ", b"to", b"tal \xe2", b"\x82\xac", b"END", b" of"]


def choice(*stop: str) -> Choice:
    return Choice(lambda id: WORDS[id], stop)


def progress(start: int, *ids: int) -> Progress:
    return Progress(id="a", start=start, token_ids=list(ids), logprobs=[-float(id) for id in ids])


def completion(*ids: int, stopped_at: int | None = None, reason: FinishReason = "stop") -> Completion:
    return Completion(
        id="a",
        token_ids=list(ids),
        logprobs=[-float(id) for id in ids],
        finish_reason=reason,
        prompt_tokens=3,
        cached_tokens=0,
        stopped_at=stopped_at,
    )


def test_half_a_character_waits_for_the_other_half() -> None:
    one = choice()
    assert [one.write(progress(start, start)).text for start in range(4)] == ["The ", "to", "tal ", "€"]
    assert one.finish(completion(0, 1, 2, 3)).text == ""


def test_what_may_become_a_stop_string_is_held_back_with_its_tokens() -> None:
    one = choice("END")
    pieces = [one.write(progress(start, start)) for start in range(4)]
    pieces.append(one.finish(completion(0, 1, 2, 3, 4, stopped_at=13)))
    assert "".join(piece.text for piece in pieces) == "The total €"
    tokens = [token for piece in pieces for token in piece.tokens]
    assert [token.logprob for token in tokens] == [0, -1, -2, -3]
    assert [token.start for token in tokens] == [0, 4, 6, 11]


def test_what_is_written_again_is_given_out_once() -> None:
    one = choice()
    one.write(progress(0, 0, 1))
    assert one.write(progress(0, 0)).text == ""
    assert one.write(progress(1, 1, 2)).text == "tal "
    assert one.write(progress(0, 0, 1, 2)).tokens == []
    assert one.finish(completion(0, 1, 2, 3)).text == "€"


def test_another_answer_than_before_is_an_error() -> None:
    one = choice()
    one.write(progress(0, 0, 1))
    with pytest.raises(ApiError, match="wrote another answer than before") as raised:
        one.write(progress(0, 5))
    assert raised.value.status == 500
    with pytest.raises(ApiError, match="another answer"):
        one.finish(completion(0))


def test_no_probability_at_all_can_be_written_as_json() -> None:
    one = choice()
    lost = Progress(id="a", start=0, token_ids=[0], logprobs=[-float("inf")])
    assert one.write(lost).tokens[0].logprob == LEAST


def test_an_error_is_the_clients_or_the_servers() -> None:
    found = failure("ContextLengthError: the prompt has 9 tokens")
    assert (found.status, found.body["error"]["code"]) == (400, "context_length_exceeded")
    assert failure("ValueError: bad").status == 400
    assert failure("RanksLostError: it died").status == 500
