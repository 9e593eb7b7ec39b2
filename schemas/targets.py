"""The targets of extraction: those that ship with Quire, and a user's own; and free questions.

A target is any pydantic model whose fields are in the table of types, named as `module:Class`, or made of a
file with a JSON schema. A model with another field is refused here, before a run starts.
"""

import datetime as dt
import hashlib
import importlib
import sysconfig
import traceback
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from schemas import json_schema_file
from schemas.arrow import arrow_schema, schema_hash
from schemas.globs import ends_with
from schemas.json_text import read_json

Money = Annotated[Decimal, Field(max_digits=12, decimal_places=2)]
Quantity = Annotated[Decimal, Field(max_digits=12, decimal_places=3)]


class LineItem(BaseModel):
    """One line of an invoice."""

    description: str
    quantity: Quantity | None = None
    unit_price: Money | None = None
    amount: Money


class Invoice(BaseModel):
    """A bill for goods or services."""

    number: str
    date: dt.date
    due_date: dt.date | None = None
    vendor: str
    customer: str | None = None
    currency: str | None = None
    subtotal: Money | None = None
    tax: Money | None = None
    total: Money
    items: list[LineItem]


class ReceiptItem(BaseModel):
    """One line of a receipt."""

    name: str
    amount: Money


class Receipt(BaseModel):
    """What a till prints."""

    merchant: str
    date: dt.date
    items: list[ReceiptItem]
    total: Money


SHIPPED: dict[str, type[BaseModel]] = {"Invoice": Invoice, "Receipt": Receipt}


def target_text(name: str) -> str:
    """The target as it travels, to run.json and to workers without its file: a name, or a schema's content.

    Raises ValueError, in one sentence, for a file that holds no schema whose values columns can hold.
    """
    path = Path(name).expanduser()
    return json_schema_file.read_schema(path) if json_schema_file.is_file_name(name) else name


@cache
def target_label(text: str) -> str:
    """What tables and messages call a target: its name, or that of its table where it is a schema."""
    if not json_schema_file.is_schema(text):
        return text
    target = load_target(text)
    return f"{target.__name__}-{schema_hash(target)}"


def load_target(text: str) -> type[BaseModel]:
    """The target of a text: `module:Class`, a shipped one by its name alone, or a schema of `target_text`.

    Raises ValueError, in one sentence, for a name that leads nowhere and for a field that no column can hold.
    """
    if json_schema_file.is_schema(text):
        return json_schema_file.load(text)
    name = text
    if name in SHIPPED:
        return SHIPPED[name]
    module_name, _, class_name = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), class_name]):
        raise ValueError(
            f"target {name!r} is neither module:Class nor one of {', '.join(SHIPPED)}, nor a .json file"
        )
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise  # the user's
    except BaseException as error:
        # A user's module runs here, and may raise anything: sys.exit() is among its mistakes.
        reason = _reason(error)
        raise ValueError(f"target {name!r}: module {module_name!r} cannot be imported: {reason}") from error
    target = getattr(module, class_name, None)
    if target is None:
        raise ValueError(f"target {name!r}: the module {module_name!r} has no {class_name!r}")
    if not (isinstance(target, type) and issubclass(target, BaseModel)):
        raise ValueError(f"target {name!r} is not a pydantic model; derive it from pydantic.BaseModel")
    arrow_schema(target)
    return target


def has_own_code(text: str) -> bool:
    """Whether values of the target meet code of its user's: that of a class, but of no shipped one."""
    return ":" in text and not json_schema_file.is_schema(text)


def _reason(error: BaseException) -> str:
    """File, line and cause. Example: contracts.py, line 3: NameError: name 'Decimal' is not defined"""
    cause = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    libraries = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith((*libraries, "<"))
    ]
    # Without one, it is the module that is missing.
    return f"{frames[-1].filename}, line {frames[-1].lineno}: {cause}" if frames else cause


def _id_of(data: dict[str, Any]) -> str:
    return "q-" + hashlib.sha256(str(data.get("text")).encode()).hexdigest()[:8]


class Question(BaseModel):
    """A free question, and of which documents and pages it is asked: of all, unless it says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    text: str = Field(min_length=1)
    # By default from the text alone, so that a line added to a file of questions renames no other.
    id: str = Field(default_factory=_id_of, min_length=1)
    documents: str | None = Field(
        default=None, min_length=1, description="a glob on the last parts of the uri"
    )
    pages: list[Annotated[int, Field(ge=1)]] | None = Field(default=None, min_length=1, description="from 1")

    def is_for_document(self, uri: str) -> bool:
        """`documents` matches the last parts of the uri: "*.pdf", "invoices/*", "2024/**/*.pdf"."""
        return self.documents is None or ends_with(uri, self.documents)

    @field_validator("documents")
    @classmethod
    def _has_parts(cls, documents: str | None) -> str | None:
        if documents is not None and not PurePosixPath(documents).parts:
            raise ValueError(f"{documents!r} names no document")
        return documents

    def is_for_page(self, page: int) -> bool:
        """Whether the question is asked of this page, counted from 1."""
        return self.pages is None or page in self.pages


def load_questions(path: Path) -> list[Question]:
    """The questions of a file: .txt holds one a line, .jsonl one object a line with the fields of Question.

    Empty lines are skipped. Raises ValueError with the number of the line.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise ValueError(
            f"{path}: questions come in a .txt file (one a line) or a .jsonl file (one object a line)"
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text: {error}") from error
    lines_by_id: dict[str, int] = {}
    questions = []
    for number, question in _parse(path, text):
        if question.id in lines_by_id:
            first = lines_by_id[question.id]
            raise ValueError(f"{path}: lines {first} and {number} are the same question (id {question.id!r})")
        lines_by_id[question.id] = number
        questions.append(question)
    if not questions:
        raise ValueError(f"{path} holds no questions; write at least one")
    return questions


def _parse(path: Path, text: str) -> Iterator[tuple[int, Question]]:
    is_json = path.suffix == ".jsonl"
    # At line feeds alone: a form feed may stand in a question, and U+2028 in JSON.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, Question.model_validate(read_json(line) if is_json else {"text": line})
        except ValidationError as error:
            first = error.errors()[0]
            where = [".".join(map(str, first["loc"]))] if first["loc"] else []
            raise ValueError(": ".join([f"{path}, line {number}", *where, first["msg"]])) from error
        except ValueError as error:
            raise ValueError(f"{path}, line {number} {error}") from error
