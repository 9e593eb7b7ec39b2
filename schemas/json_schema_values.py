"""The facts of one string, number or boolean in; its annotation in pydantic's terms out.

Conditions that JSON Schema has and decoding lacks (`multipleOf` 5, an enum of numbers, a pattern beside a
format) become validators of the annotation, and words for the language model.
"""

import datetime as dt
import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from schemas.json_schema_facts import Facts, is_number, json_type, nothing, same
from schemas.json_schema_refs import refused
from schemas.types import INT64, MAX_DECIMAL_DIGITS

BOUNDARY = re.compile(r"(?<!\\)(?:\\\\)*(\\[bB<>])")
DAYS: dict[str | None, Any] = {"date": dt.date, "date-time": AwareDatetime}
Made = tuple[Any, list[str]]  # an annotation, and what is to be told of its values beside their description


def scalar(facts: Facts, kind: str) -> Made:
    """The annotation of a value of one kind, which is not null. Raises ValueError with its place."""
    match kind:
        case "string":
            made = _text(facts)
        case "boolean":
            made = bool, []
        case _:
            made = _number(facts, kind)
    return made if facts.values is None else _choice(facts, kind, *made)


def _choice(facts: Facts, kind: str, base: Any, words: list[str]) -> Made:
    """Choices of text are a type of their own; those of numbers, a number that is checked."""
    fits = TypeAdapter(base)
    values = [value for value in facts.values or () if _has_type(value, kind) and _accepts(fits, value)]
    if not values:
        raise nothing(facts.pointer, "none of the values of its enum fits its other keywords")
    if kind == "string":
        return Literal[tuple(values)], []
    told = f"one of {', '.join(map(_plain, values))}"
    rules: list[Any] = [AfterValidator(_is_one_of(values, told))]
    if kind != "boolean" and base is not float:
        rules.insert(0, Field(ge=min(values), le=max(values)))
    return Annotated[base, *rules], [*words, told]


def _has_type(value: object, kind: str) -> bool:
    return json_type(value) == kind or (kind == "number" and is_number(value))


def _accepts(fits: TypeAdapter[Any], value: object) -> bool:
    try:
        fits.validate_python(value)
    except ValidationError:
        return False
    return True


def _plain(value: Any) -> str:
    return format(value, "f") if isinstance(value, Decimal) else json.dumps(value)


def _is_one_of(values: list[Any], told: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        allowed = [float(one) for one in values] if isinstance(value, float) else values
        if not any(same(value, one) for one in allowed):
            raise ValueError(f"is not {told}")
        return value

    return check


def are_unique(values: list[Any]) -> list[Any]:
    """A list without equal items, as it is. Raises ValueError."""
    if any(value in values[:index] for index, value in enumerate(values)):
        raise ValueError("has two equal items")
    return values


def _text(facts: Facts) -> Made:
    least, most, pattern = facts.min_length, facts.max_length, facts.pattern
    if least is not None and most is not None and least > most:
        raise nothing(facts.pointer, f"no text has {least} to {most} characters")
    limits = Field(min_length=least, max_length=most, pattern=pattern)
    text = Annotated[str, limits] if limits.metadata else str
    if pattern is not None:
        _check_pattern(text, pattern, facts.pointer)
    day = DAYS.get(facts.format) if facts.values is None else None
    if day is None:
        return text, [f"format: {facts.format}"] if facts.format else []
    if text is str:
        return day, []
    told = [f"matching {pattern}"] if pattern else []
    told += [f"at least {least} characters"] if least else []
    told += [f"at most {most} characters"] if most is not None else []
    return Annotated[day, BeforeValidator(_is_text_of(text))], told


def _check_pattern(text: Any, pattern: str, pointer: str) -> None:
    if found := BOUNDARY.search(pattern):
        raise refused(f"{pointer}/pattern", f"{found[1]} in {pattern!r} cannot be decoded; write it without")
    try:
        TypeAdapter(text)
    except SchemaError as error:
        why = str(error).splitlines()[-1].strip().removeprefix("error: ")
        raise refused(f"{pointer}/pattern", f"{pattern!r} cannot be decoded: {why}") from error


def _is_text_of(text: Any) -> Callable[[Any], Any]:
    """A check of a day's text before it is read; a day that was read already, from a table, passes."""
    fits = TypeAdapter(text)
    return lambda value: fits.validate_python(value) if isinstance(value, str) else value


def _number(facts: Facts, kind: str) -> Made:
    step = facts.step
    if kind == "integer":  # multiples of 0.5 that are whole are multiples of 1, of 1.5 those of 3
        return _integer(facts, step.numerator if step else 1)
    if step is None:
        return _float(facts), []
    if step.denominator == 1:
        return _integer(facts, step.numerator)
    return _decimal(facts, step)


def _integer(facts: Facts, step: int) -> Made:
    lows = [math.ceil(facts.ge)] if facts.ge is not None else []
    lows += [math.floor(facts.gt) + 1] if facts.gt is not None else []
    highs = [math.floor(facts.le)] if facts.le is not None else []
    highs += [math.ceil(facts.lt) - 1] if facts.lt is not None else []
    low, high = max(lows, default=None), min(highs, default=None)
    if max(-INT64, low if low is not None else -INT64) > min(INT64 - 1, high if high is not None else INT64):
        raise nothing(facts.pointer, "no whole number of 64 bits is within its bounds")
    rules: list[Any] = [] if low is None and high is None else [Field(ge=low, le=high)]
    if step == 1:
        return (Annotated[int, *rules] if rules else int), []
    rules.append(AfterValidator(_is_multiple(Fraction(step))))
    return Annotated[int, *rules], [f"a multiple of {step}"]


def _float(facts: Facts) -> Any:
    names = ("ge", "gt", "le", "lt")
    bounds: Any = {name: float(getattr(facts, name)) for name in names if getattr(facts, name) is not None}
    _check_bounds(facts)
    return Annotated[float, Field(**bounds)] if bounds else float


def _decimal(facts: Facts, step: Fraction) -> Made:
    """Multiples of 0.01 are decimals of two places, of 38 digits or as many as the bounds need."""
    places = next((n for n in range(1, MAX_DECIMAL_DIGITS) if 10**n % step.denominator == 0), None)
    if places is None:
        raise refused(f"{facts.pointer}/multipleOf", f"a decimal has {MAX_DECIMAL_DIGITS} digits at most")
    _check_bounds(facts)
    lows = [bound for bound in (facts.ge, facts.gt) if bound is not None]
    highs = [bound for bound in (facts.le, facts.lt) if bound is not None]
    whole = MAX_DECIMAL_DIGITS - places
    if lows and highs:
        whole = min(whole, len(str(math.ceil(max(abs(max(lows)), abs(min(highs)))))))
    names = ("ge", "gt", "le", "lt")
    bounds: Any = {name: getattr(facts, name) for name in names if getattr(facts, name) is not None}
    limits = Field(max_digits=whole + places, decimal_places=places, **bounds)
    if step == Fraction(1, 10**places):
        return Annotated[Decimal, limits], []
    told = f"a multiple of {_plain(Decimal(step.numerator) / Decimal(step.denominator))}"
    return Annotated[Decimal, limits, AfterValidator(_is_multiple(step))], [told]


def _check_bounds(facts: Facts) -> None:
    for low, high, may_meet in (
        (facts.ge, facts.le, True),
        (facts.ge, facts.lt, False),
        (facts.gt, facts.le, False),
        (facts.gt, facts.lt, False),
    ):
        if low is not None and high is not None and (low > high or (low == high and not may_meet)):
            raise nothing(facts.pointer, f"no number is within its bounds, {low} and {high}")


def _is_multiple(step: Fraction) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if Fraction(value) % step:
            raise ValueError(f"is no multiple of {step}")
        return value

    return check
