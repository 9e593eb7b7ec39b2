"""What people say is right: lines of --expected files, and which answers of a run they are about.

In: a file of labels, and rows of answers. Out: lines that can be compared. A reviewer's export has the same
form, and so may a data set of `jobs.evaluate`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.evaluation.scorers.fields import Counts, is_same
from jobs.evaluation.scorers.texts import exact_match

NULL: Final = "null"
"""The text of a field without a value, in answers and in labels."""
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


class Expected(BaseModel):
    """One line of the --expected file."""

    model_config = ConfigDict(extra="forbid")

    document: str = Field(min_length=1)
    page: int | None = None
    question: str | None = None
    field: str | None = None
    answers: list[str] = Field(min_length=1)
    verdict: Literal["right", "wrong"] | None = None
    """A reviewer's, of the answer `said`: it says where the line comes from, and decides nothing."""
    said: str | None = None

    def accepts(self, answer: str) -> bool:
        """Whether an answer is right. A target's dates are YYYY-MM-DD, and may be written otherwise here."""
        is_date = self.field is not None and _DAY.fullmatch(answer) is not None
        return is_right(answer, self.answers) or (
            is_date and any(is_same(answer, one, "date") for one in self.answers)
        )


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the printed table: a free answer, or one field of a target's answer."""

    uri: str
    page_first: int
    page_last: int
    what: str
    answer: str
    confidence: float

    def is_about(self, expected: Expected) -> bool:
        """Whether `expected` holds the right answers to this line."""
        return (
            f"/{self.uri}".endswith(f"/{expected.document}")
            and (expected.page is None or self.page_first <= expected.page <= self.page_last)
            and self.what == (expected.field or expected.question)
        )


def is_right(answer: str, accepted: Sequence[str]) -> bool:
    """Whether an answer is accepted: case and white space do not count, numbers are compared as numbers."""
    said = as_number(answer)
    return exact_match(answer, accepted) == 1.0 or (
        said is not None and said in [as_number(text) for text in accepted]
    )


def counts_of(matches: Iterable[tuple[Expected, Sequence[Line]]]) -> Counts:
    """Of the fields of targets among what is expected: right, given and wanted ones; null is no value."""
    found = Counts()
    for entry, lines in matches:
        if entry.field is not None:
            given = [line.answer for line in lines if line.answer != NULL]
            found.wanted += entry.answers != [NULL]
            found.given += bool(given)
            found.right += any(map(entry.accepts, given))
    return found


def as_number(text: str) -> Decimal | None:
    """The number that a text is, commas between thousands left out; None if it is none."""
    try:
        number = Decimal(re.sub(r"(?<=\d),(?=\d{3})", "", text.strip()))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def load_expected(path: Path) -> list[Expected]:
    """The lines of an --expected file. Raises ValueError with the number of the line."""
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--expected {path} cannot be read: {error}") from error
    expected = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = Expected.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"--expected {path}, line {number}: {where} {first['msg']}") from error
        if (entry.question is None) == (entry.field is None):
            raise ValueError(f"--expected {path}, line {number}: give question or field, one of the two")
        expected.append(entry)
    if not expected:
        raise ValueError(f"--expected {path} is empty")
    return expected


def lines_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """The lines to print of an answers table's rows, by document and page."""
    for row in sorted(rows, key=lambda row: (row["uri"], row["page_first"])):
        where = {name: row[name] for name in ("uri", "page_first", "page_last")}
        if isinstance(row["answer"], str):
            yield Line(**where, what=row["question"], answer=row["answer"], confidence=row["confidence"])
            continue
        for field in row["fields"]:
            value = _at(row["answer"], field["path"])
            where |= {name: field[name] for name in ("page_first", "page_last") if name in field}
            yield Line(**where, what=field["path"], answer=_text(value), confidence=field["confidence"])


def conflicts_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """The values of windows that merged answers do not have."""
    for row in sorted(rows, key=lambda row: row["uri"]):
        for one in row.get("conflicts", ()):
            value = json.loads(one["answer"], parse_float=Decimal)
            where = {name: one[name] for name in ("page_first", "page_last", "confidence")}
            yield Line(uri=row["uri"], what=one["path"], answer=_text(value), **where)


def _at(value: Any, path: str) -> Any:
    """The value at a path such as items[0].amount in nested dicts and lists."""
    for part in re.findall(r"[^.\[\]]+", path):
        if value is None:
            return None
        value = value[int(part)] if isinstance(value, list) else value.get(part)
    return value


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool | list | dict):  # an empty list or object is a leaf, too
        return json.dumps(value)
    return str(value)
