"""Under a grammar, a list of equal elements is an answer, and a loop within a value is none."""

import json
from pathlib import Path

import pytest

from model.engine.answer import Answer
from model.engine.repetition import RepetitionLimit
from model.engine.request import Branch
from model.text.grammar import Grammars
from model.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_file(Path("model/nano/tekken.json"))
GRAMMARS = Grammars(TOKENIZER)
LINE = {
    "type": "object",
    "properties": {"description": {"type": "string"}, "amount": {"type": "number"}},
    "required": ["description", "amount"],
    "additionalProperties": False,
}


def finish(value: object, item: object, limit: RepetitionLimit | None = None) -> tuple[str | None, int]:
    """Why an answer of this JSON, a list of such items, ends, and after how many of all its tokens."""
    schema = json.dumps({"type": "array", "items": item})
    branch = Branch(id="a", ids=[1], max_new_tokens=10**6, grammar=schema)
    answer = Answer(
        branch, eos_id=TOKENIZER.eos, limit=limit or RepetitionLimit(), grammars=GRAMMARS, token_bytes=None
    )
    tokens = TOKENIZER.encode(json.dumps(value, ensure_ascii=False))
    for count, token in enumerate(tokens, start=1):
        if reason := answer.take(token, -0.1):
            return reason, len(tokens) - count
    return None, 0


@pytest.mark.parametrize(
    ("value", "item"),
    [
        ([{"description": "Delivery, by road", "amount": 12.5}] * 30, LINE),
        ([{"description": "a", "amount": 1}, {"description": "b", "amount": 2}] * 40, LINE),
        ([0] * 250, {"type": "number"}),
        (["n/a"] * 200, {"type": "string"}),
        ([[0, 0]] * 200, {"type": "array", "items": {"type": "number"}}),
    ],
)
def test_a_list_of_equal_elements_is_no_loop(value: object, item: object) -> None:
    assert finish(value, item) == ("stop", 0)


@pytest.mark.parametrize(
    ("value", "item"),
    [
        (["ha" * 2000], {"type": "string"}),
        (["no, " * 2000], {"type": "string"}),
        (['say ", ' * 2000], {"type": "string"}),
        ([{"description": "x", "amount": 1}] * 3 + [{"description": "very " * 900, "amount": 1}], LINE),
    ],
)
def test_a_loop_within_a_value_is_cut(value: object, item: object) -> None:
    reason, left = finish(value, item)
    assert reason == "repetition"
    assert left > 0


def test_a_list_without_end_is_cut_in_the_end() -> None:
    assert finish([0] * 2000, {"type": "number"})[0] == "repetition"
