"""What invoices and receipts share: positions, sums, and the JSON of their targets."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass

from pydantic import BaseModel

from jobs.nano.synthetic import words
from jobs.nano.synthetic.layout import unique
from jobs.nano.synthetic.words import Value


@dataclass(frozen=True, slots=True)
class Line:
    """One position of an invoice or a receipt."""

    name: str
    quantity: int
    price: float

    @property
    def amount(self) -> float:
        return round(self.quantity * self.price, 2)


def positions(least: int, most: int, *, caps: bool) -> list[Line]:
    """Positions with different names; most amounts are small, as on real paper."""
    names = unique(
        words.phrase(1, 4)
        if random.random() < 0.8
        else f"{words.phrase(1, 2)} {random.choice(['5kg', '10 pcs', '20g', '250ml', '500G', '2L'])}"
        for _ in range(random.randint(least, most))
    )
    high = random.choice([50, 500, 5000, 50_000])
    return [
        Line(
            name.upper() if caps else name,
            random.choice([1, 1, 1, 2, 3, 4, 5, 6, 8, 10, 12, 20, 25, 100]),
            words.amount(0.5, high),
        )
        for name in names
    ]


def sum_of(lines: list[Line]) -> float:
    return round(sum(line.amount for line in lines), 2)


def price(amount: float, symbol: str) -> Value:
    """An amount of money as a page shows it."""
    return Value(words.money(amount, symbol), "decimal", f"{amount:.2f}")


def target_json(model: type[BaseModel], values: dict[str, object]) -> str:
    """The JSON of a target, its fields in the order of the class; what `values` lacks is null."""
    assert values.keys() <= model.model_fields.keys(), (values.keys(), model.model_fields.keys())
    return to_json({name: values.get(name) for name in model.model_fields})


_MARK = "\0"  # begins a figure on its way through json.dumps, which would write 12.50 as 12.5


def figure(amount: float) -> str:
    """A decimal that `to_json` writes with its two places."""
    return f"{_MARK}{amount:.2f}"


def json_value(value: Value) -> object:
    return figure(float(str(value.json))) if value.kind == "decimal" else value.json


def to_json(value: object) -> str:
    """JSON on one line, as the model is trained to write it."""
    return re.sub(r'"\\u0000([^"]*)"', r"\1", json.dumps(value, ensure_ascii=False))
