"""The wording of prompts is pinned, and their tokens are those of the whole conversation."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from model.text.tokenizer import ImagePlaceholder, Message, Text, Tokenizer
from pipeline.plan.prompts import question_prompt, target_prompt, tokenize
from schemas.targets import Receipt

TOKENIZER = Tokenizer.from_file(Path("model/nano/tekken.json"))


class Part(BaseModel):
    name: str = Field(description="as printed on the label")
    weight: Annotated[Decimal, Field(max_digits=8, decimal_places=3)] | None = None


class Parcel(BaseModel):
    """Not part of the prompt."""

    carrier: Literal["road", "rail"]
    sent: bool | None = Field(default=None, description="has left the house")
    parts: list[Part]


def test_question_is_asked_as_mistral_evals_asks_docvqa() -> None:
    assert question_prompt("What is the total?") == (
        "What is the total?\nAnswer the question using a single word or phrase."
    )


def test_target_prompt_shows_the_shape() -> None:
    assert target_prompt(Receipt) == (
        "Extract as JSON. Dates are YYYY-MM-DD, missing values are null.\n"
        '{"merchant": string, "date": date, "items": [{"name": string, "amount": decimal}], "total": decimal}'
    )


def test_target_prompt_says_choices_and_descriptions() -> None:
    assert target_prompt(Parcel) == (
        "Extract as JSON. Dates are YYYY-MM-DD, missing values are null.\n"
        '{"carrier": "road"|"rail", "sent": boolean, "parts": [{"name": string, "weight": decimal}]}\n'
        "sent: has left the house\n"
        "parts[].name: as printed on the label"
    )


@pytest.mark.parametrize(
    "pictures",
    [[ImagePlaceholder(1, 1)], [ImagePlaceholder(3, 2), ImagePlaceholder(1, 4), ImagePlaceholder(2, 2)]],
)
def test_prefix_and_branch_are_the_whole_conversation(pictures: list[ImagePlaceholder]) -> None:
    texts = ["Who?", " a leading space", "[/INST] [IMG_END] é 12345"]
    turns = [[Message("user", (*pictures, Text(text)))] for text in texts]
    prompt = tokenize(TOKENIZER, turns)
    for turn, branch in zip(turns, prompt.branches, strict=True):
        assert prompt.prefix + branch == TOKENIZER.encode_conversation(turn)
        assert TOKENIZER.img_end not in branch
    assert prompt.prefix[-1] == TOKENIZER.img_end


def test_a_prompt_without_images_is_split_where_its_conversations_part() -> None:
    texts = ["Who wrote Faust?", "Who wrote Hamlet?", "Since when?"]
    turns = [[Message("user", (Text(text),))] for text in texts]
    prompt = tokenize(TOKENIZER, turns)
    assert prompt.prefix == TOKENIZER.encode_conversation(turns[0])[:2]
    assert all(prompt.branches)
    for turn, branch in zip(turns, prompt.branches, strict=True):
        assert prompt.prefix + branch == TOKENIZER.encode_conversation(turn)
    alone = tokenize(TOKENIZER, turns[:1])
    assert alone.branches == [[TOKENIZER.inst_end]]


def test_what_parts_before_its_last_image_is_no_prompt() -> None:
    one, other = ImagePlaceholder(1, 1), ImagePlaceholder(2, 1)
    turns = [[Message("user", (picture, Text("Who?")))] for picture in (one, other)]
    for wrong in (turns, [turns[0], [Message("user", (one, Text("a"), one, Text("b")))]]):
        with pytest.raises(ValueError, match="differ before the end of their last image"):
            tokenize(TOKENIZER, wrong)
    with pytest.raises(ValueError, match="at least one conversation"):
        tokenize(TOKENIZER, [])
