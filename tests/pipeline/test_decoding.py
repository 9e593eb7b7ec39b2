"""Whatever decoding allows for a target is read into a value or is missing_field; a cut is truncated.

Random targets, and random walks over the tokens that are allowed: no model is needed to find what a model
could be led to write.
"""

import json
import random
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, Field, create_model

from model.text.grammar import Grammars, check_schema
from model.text.tokenizer import Tokenizer
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.ingest.listing import list_sources
from pipeline.parse.answers import AnswerError, read_target, value_spans
from pipeline.plan.rows import ANSWER, FAILURE
from pipeline.stages import draw_groups, open_sources, read_answers
from schemas.arrow import json_schema, to_row
from schemas.targets import Invoice, Receipt
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.local_replica import LocalReplica
from tests.pipeline.plans import plan_for

TOKENIZER = Tokenizer.from_file(Path("model/nano/tekken.json"))
GRAMMARS = Grammars(TOKENIZER)
ENDS = [any(sign in TOKENIZER.token_bytes(id) for sign in (b'"', b"]", b"}")) for id in range(3048)]
SHADES = tuple(f'shade {number} "é"\n' for number in range(300))


class Colour(Enum):
    RED = "red"
    LIGHT_BLUE = "light blue"


def grammar(target: type[BaseModel]) -> str:
    return json.dumps(json_schema(target, nullable=True), ensure_ascii=False)


def can_be_decoded(target: type[BaseModel]) -> bool:
    """Else it is refused before a run starts, here for bounds without a number between them."""
    try:
        check_schema(grammar(target))
    except ValueError as error:
        if "no number is within its bounds" not in str(error):
            raise
        return False
    return True


def walk(target: type[BaseModel], generator: random.Random, steps: int, patience: int) -> tuple[str, bool]:
    """A text of random allowed tokens, and whether it is whole. After `patience` tokens it is made to end."""
    matcher, masks = GRAMMARS.matcher(grammar(target)), GRAMMARS.new_masks(1)
    written: list[int] = []
    while not matcher.is_complete and len(written) < steps:
        matcher.fill(masks[0])
        assert not matcher.stuck, matcher.inner.get_error()
        allowed = np.flatnonzero(np.unpackbits(masks.view(np.uint8), bitorder="little")).tolist()
        ending = [token for token in allowed if ENDS[token]] if len(written) >= patience else []
        written.append(generator.choice(ending or allowed))
        matcher.accept(written[-1])
    return TOKENIZER.decode(written), matcher.is_complete


def bounded(kind: Any, low: Any, high: Any, strict: int, **more: Any) -> Any:
    """An annotation with bounds; `strict` says which are there and which are exclusive."""
    names = [("ge", "le"), ("gt", "lt"), ("ge", "lt"), ("gt", None), (None, "le"), (None, None)][strict]
    given = {name: value for name, value in zip(names, (low, high), strict=True) if name}
    return Annotated[kind, Field(**given, **more)]


TEXTS = st.builds(
    lambda least, size: Annotated[
        str, Field(min_length=least, max_length=None if size is None else least + size)
    ],
    st.integers(0, 3),
    st.integers(0, 9) | st.none(),
)
PATTERNS = st.sampled_from(
    [r"^[A-Z]{2}-\d{1,5}$", r"\w+@\w+", r"^\S*$", "(?i)^abc", r"^[^\W\d]+$", '^["\\\\/é]+$']
).map(lambda pattern: Annotated[str, Field(pattern=pattern)])
INTEGERS = st.builds(
    lambda low, size, strict: bounded(int, low, low + size + 2, strict),
    st.integers(-(2**63), 2**63),
    st.sampled_from([0, 1, 9, 100, 12345, 2**63]),
    st.integers(0, 5),
)
FLOATS = st.builds(
    lambda low, size, strict: bounded(float, low, low + size, strict),
    st.floats(-1e6, 1e6),
    st.floats(1e-3, 1e6),
    st.integers(0, 5),
)
DECIMALS = st.builds(
    lambda whole, places, low, size, strict: bounded(
        Decimal,
        Decimal(low).scaleb(-places),
        Decimal(low + size).scaleb(-places),
        strict,
        max_digits=whole + places,
        decimal_places=places,
    ),
    st.sampled_from([1, 3, 10, 29]),  # without whole digits pydantic refuses 0 itself
    st.sampled_from([0, 1, 2, 9]),
    st.integers(-50, 50),
    st.integers(2, 90),
    st.integers(0, 5),
)
CHOICES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6), min_size=1, unique=True
).map(lambda choices: Literal[tuple(choices)])
SCALARS = st.one_of(
    TEXTS,
    PATTERNS,
    INTEGERS,
    FLOATS,
    DECIMALS,
    CHOICES,
    st.sampled_from([str, int, float, bool, date, datetime, AwareDatetime, Colour, Literal[SHADES]]),
)


def model_of(kinds: list[tuple[Any, bool]]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        f"größe_{number}" if number % 2 else f"f{number}": (kind | None, None) if optional else (kind, ...)
        for number, (kind, optional) in enumerate(kinds)
    }
    return create_model("Random", **fields)


def lists_of(kind: Any, least: int, size: int | None) -> Any:
    return Annotated[list[kind], Field(min_length=least, max_length=None if size is None else least + size)]


def models(kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[type[BaseModel]]:
    return st.lists(st.tuples(kinds, st.booleans()), min_size=1, max_size=4).map(model_of)


KINDS = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(
            lists_of,
            inner | inner.map(lambda kind: kind | None),
            st.integers(0, 2),
            st.none() | st.integers(0, 2),
        )
        | models(inner)
    ),
    max_leaves=5,
)


def without_patterns(schema: Any) -> Any:
    """Python's Unicode is older than pydantic's, which has checked the patterns."""
    if isinstance(schema, dict):
        return {key: without_patterns(value) for key, value in schema.items() if key != "pattern"}
    return [without_patterns(value) for value in schema] if isinstance(schema, list) else schema


def outcome(target: type[BaseModel], text: str) -> str:
    try:
        to_row(read_target(target, text))
    except AnswerError as error:
        return error.reason if error.reason != "invalid_value" else str(error)
    return "value"


@settings(max_examples=120)
@given(models(KINDS), st.integers(0, 2**32), st.sampled_from([0, 40, 10**6]))
@example(Invoice, 1, 60)
@example(Receipt, 2, 60)
def test_every_walk_is_a_value_or_misses_a_field_or_is_cut(
    target: type[BaseModel], seed: int, patience: int
) -> None:
    assume(can_be_decoded(target))
    text, whole = walk(target, random.Random(seed), steps=400, patience=patience)
    found = outcome(target, text)
    if not whole:
        assert found == "invalid_json"  # which is `truncated` where the finish reason is "length"
        return
    assert found == "value" or (found == "missing_field" and "null" in text)
    jsonschema.validate(json.loads(text), without_patterns(json_schema(target, nullable=True)))
    assert value_spans(text)


def trained(value: Any) -> str:
    """JSON in the form that nano is trained to write."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{trained(name)}: {trained(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(trained, value)) + "]"
    if isinstance(value, Decimal):
        return format(value, "f")
    return json.dumps(value.isoformat() if isinstance(value, date) else value, ensure_ascii=False)


class Part(BaseModel):
    name: str
    price: Annotated[Decimal, Field(max_digits=38, decimal_places=4)] | None


class Everything(BaseModel):
    whole: int
    real: float
    flag: bool | None
    day: date
    moment: AwareDatetime
    colour: Colour
    parts: list[Part]


LINES = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=0x20), max_size=9)


@given(
    st.builds(
        Everything,
        whole=st.integers(-(2**63), 2**63 - 1),
        real=st.floats(-1e90, 1e90).filter(lambda real: real == 0 or abs(real) > 1e-90),
        moment=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
        parts=st.lists(
            st.builds(Part, name=LINES, price=st.none() | st.decimals(-(10**20), 10**20, places=4)),
            max_size=3,
        ),
    )
)
def test_every_value_can_be_written(value: Everything) -> None:
    value.real = value.real or 0.0  # -0.0 is written as 0.0
    matcher = GRAMMARS.matcher(grammar(Everything))
    tokens = TOKENIZER.encode(trained(to_row(value)))
    assert matcher.inner.try_consume_tokens(tokens) == len(tokens)
    assert matcher.is_complete
    assert read_target(Everything, TOKENIZER.decode(tokens)) == value


class Ticket(BaseModel):
    """Short enough for a model of random weights to come to its end."""

    code: str | None = Field(max_length=6)
    day: date | None
    price: Decimal = Field(max_digits=6, decimal_places=2)
    kind: Literal["single", "return"]
    stops: list[Annotated[int, Field(ge=0, le=99)]] | None = Field(max_length=2)


@pytest.mark.parametrize("target", ["tests.pipeline.test_decoding:Ticket", "Receipt"])
def test_a_model_of_random_weights_answers_or_misses_a_field_or_is_cut(
    target: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for number in range(6):
        (tmp_path / f"{number}.pdf").write_bytes(pdf_bytes([(60 + 9 * number, 90)]))
    plan = plan_for(tiny_checkpoint, targets=(target,), max_new_tokens=120)
    replica = LocalReplica(ReplicaConfig(plan=plan, threads=1, dtype="float32"))
    found = [
        row["answer"] or row["failure"]
        for opened in open_sources(list_sources([str(tmp_path)]), plan)
        for drawn in draw_groups(opened, plan)
        for completions in replica(drawn)
        for row in read_answers(completions, plan).to_pylist()
        if row["kind"] in (ANSWER, FAILURE)
    ]
    assert len(found) == 6
    reasons = {row.get("reason", "answered") for row in found}
    assert reasons <= {"answered", "missing_field", "truncated"}
    if target == "Receipt":
        assert reasons == {"truncated"}  # its names have no end, which a random model does not find
    else:
        assert reasons == {"answered", "missing_field"}
        assert all(list(json.loads(row["raw_text"])) == list(Ticket.model_fields) for row in found)
