"""What invoices and receipts share: their positions, and the typed target that is asked of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pydantic import BaseModel

from jobs.nano.synthetic import words
from jobs.nano.synthetic.forms import to_json
from jobs.nano.synthetic.layout import Drawn, Exchange
from pipeline.plan.prompts import target_prompt


@dataclass(frozen=True, slots=True)
class Line:
    """One position of an invoice or a receipt."""

    name: str
    quantity: int
    price: float

    @property
    def amount(self) -> float:
        return round(self.quantity * self.price, 2)


def target_json(model: type[BaseModel], values: dict[str, object]) -> str:
    """The JSON of a target, its fields in the order of the class; what `values` lacks is null."""
    assert values.keys() <= model.model_fields.keys(), (values.keys(), model.model_fields.keys())
    return to_json({name: values.get(name) for name in model.model_fields})


def positions(least: int, most: int) -> list[Line]:
    """Positions with different names; most amounts are small, as on real paper."""
    # Not a set, whose order differs between processes: equal seeds must draw equal documents.
    names = dict.fromkeys(words.phrase(1, 3) for _ in range(random.randint(least, most)))
    high = random.choice([50, 500, 5000])
    return [
        Line(name, random.choice([1, 1, 2, 3, 4, 5, 6, 8, 10, 12, 20, 25]), words.amount(1, high))
        for name in names
    ]


def sum_of(lines: list[Line]) -> float:
    return round(sum(line.amount for line in lines), 2)


def ask_target(drawn: Drawn, model: type[BaseModel], values: dict[str, object]) -> None:
    """Puts the target in front, where it is answered from the page alone, or behind the questions."""
    exchange = Exchange(target_prompt(model), target_json(model, values))
    drawn.exchanges.insert(random.choice([0, len(drawn.exchanges)]), exchange)
