"""From what a page says to what is asked of it: look-ups in many wordings, yes or no, JSON, Markdown.

In: a drawn Page. Out: its exchanges, in the pipeline's own prompts and in random order.
"""

from __future__ import annotations

import random
import re
from collections import Counter

from pydantic import BaseModel

from jobs.nano.synthetic.layout import Cues, Exchange, Fact, Page, chance
from jobs.nano.synthetic.trade import json_value, target_json, to_json
from jobs.nano.synthetic.wording import about_label, about_role, asked, noisy, pick
from jobs.nano.synthetic.words import bare
from pipeline.plan.prompts import SHAPE_REQUEST, markdown_prompt, question_prompt, shape_prompt, target_prompt

DOCUMENT_OF = {"lines": "report", "line": "report", "card": "chart", "survey": "chart"}
ABSENT = "Not on the page"
MOST = 32  # questions of a page
MARKDOWN_CHARACTERS = 2400  # of the longest page that is transcribed
_PRICES = (
    "What is the price of {x}?", "How much is {x}?", "How much is the {x}?", "How much does {x} cost?",
    "What does {x} cost?", "How much was paid for {x}?", "What is the amount for {x}?",
    "What is charged for {x}?", "What did {x} cost?", "Price of {x}?", "What is the cost of {x}?",
    "What amount is shown beside {x}?", "How much had to be paid for {x}?",
)  # fmt: skip
_IS = (
    "Is the {l} {v}?", "Is {v} the {l}?", "Does the {d} give {v} as {l}?", "Is it right that the {l} is {v}?",
    'Does it say "{v}" at "{l}"?', "Is {v} written at {l}?",
)  # fmt: skip
_HAS = (
    "Is there a {l} on this {d}?", "Does the {d} mention the {l}?", "Does this {d} have a {l}?",
    "Is a {l} given?", "Is there a field \"{l}\"?", "Can a {l} be found on the {d}?",
)  # fmt: skip


def target(model: type[BaseModel], values: dict[str, object]) -> Exchange:
    """A typed target and its JSON."""
    return Exchange(target_prompt(model), target_json(model, values))


def finish(page: Page) -> None:
    """Fills the page's exchanges, anew each time."""
    targets = list(page.targets)
    document = DOCUMENT_OF.get(page.kind, page.kind)
    found = [*_look_ups(page, document), *[_short(*ask) for ask in page.asks], *_yes_no(page, document)]
    # Only where names stand beside values: of a chart's unfamiliar question the model would say it, too.
    if sum(bool(fact.label) for fact in page.facts) >= 3 and chance(0.07):
        found += _absent(page, document)
    random.shuffle(found)
    found = found[:MOST]
    if page.facts and chance(0.3):
        found.append(_extraction(page))
    transcript = _transcript(page)
    if transcript and chance(0.2 if page.kind not in ("line", "lines") else 0.35):
        page.exchanges = [transcript]  # alone: other questions behind it would be answered from its text
        return
    page.exchanges = found
    if targets and chance(0.4):  # in front, where it is answered from the page alone, or behind the questions
        page.exchanges[random.choice([0, 0, len(found)]) : 0] = targets[:1]


def task(kind: str, exchange: Exchange) -> str:
    """What the evaluation counts an exchange under; of charts apart what is computed or estimated."""
    if exchange.prompt.startswith(SHAPE_REQUEST) or f"\n{SHAPE_REQUEST}" in exchange.prompt:
        return f"{kind}, JSON"
    if exchange.prompt.startswith("Transcribe"):
        return f"{kind}, Markdown"
    if exchange.answer in ("Yes", "No"):
        return f"{kind}, yes or no"
    return f"{kind}, derived" if exchange.at is None and DOCUMENT_OF.get(kind, kind) == "chart" else kind


def _short(question: str, answer: str, at: int | None, cues: Cues = ()) -> Exchange:
    """With the pipeline's instruction for short answers; a few free of it."""
    return Exchange(question if chance(0.06) else question_prompt(question), answer, at, cues)


def _look_ups(page: Page, document: str) -> list[Exchange]:
    names = Counter(_key(fact.label) for fact in page.facts)
    roles = Counter(fact.role for fact in page.facts)
    text = _text(page)
    found = []
    for fact in page.facts:
        shown, skipped = bare(fact.value.shown)
        if fact.role == "price":
            question = noisy(pick(_PRICES, page.held_out).replace("{x}", fact.label))
        elif fact.role and roles[fact.role] == 1 and (chance(0.75) or not fact.label):
            question = about_role(fact.role, document, page.held_out)
        elif fact.label and names[_key(fact.label)] == 1:
            question = about_label(fact.label, document, page.held_out)
        else:
            continue
        found.append(_short(question, shown, fact.at + skipped, (_label_at(fact, text),)))
    return found


def links(page: Page) -> list[tuple[int, Cues]]:
    """The first glyph of every value on the page, asked for or not, and its cues."""
    text = _text(page)
    return [*page.links, *[(fact.at, (_label_at(fact, text),)) for fact in page.facts]]


def _text(page: Page) -> str:
    """A character for each glyph."""
    return "".join(_lowered(glyph.character) for glyph in page.sheet.glyphs)


def _lowered(character: str) -> str:
    """In lower case, where that is one character, too: glyphs are counted."""
    lowered = character.lower()
    return lowered if len(lowered) == 1 else character


def _label_at(fact: Fact, text: str) -> int | None:
    """The glyph with which the label of a fact begins: the nearest before its value, or else behind it."""
    label = "".join(fact.label.split()).lower()
    if not label:
        return None
    before, behind = text.rfind(label, 0, fact.at), text.find(label, fact.at)
    return next((at for at in (before, behind) if at >= 0), None)


def _key(label: str) -> str:
    return re.sub(r"[^a-z0-9]", "", label.lower())


def _yes_no(page: Page, document: str) -> list[Exchange]:
    facts = [fact for fact in page.facts if fact.label and fact.role != "price"]
    found = []
    for fact in random.sample(facts, min(2, len(facts))):
        if chance(0.5):
            continue
        other = random.choice(facts).value.shown
        true = chance(0.5) or other == fact.value.shown
        form = (
            pick(_IS, page.held_out)
            .replace("{l}", fact.label)
            .replace("{v}", fact.value.shown if true else other)
        )
        found.append(_short(asked(form, document), "Yes" if true else "No", fact.at))
    if facts and chance(0.15):
        present = chance(0.5)
        name = random.choice(facts).label if present else _missing(page)
        if name:
            form = pick(_HAS, page.held_out).replace("{l}", name)
            found.append(_short(asked(form, document), "Yes" if present else "No", None))
    return found


def _missing(page: Page) -> str:
    """A label that the page lacks, or nothing."""
    from jobs.nano.synthetic.forms import label

    text = "".join(glyph.character for glyph in page.sheet.glyphs).lower()
    name = label()
    return "" if any(_key(word) in text for word in name.split() if len(word) > 3) else name


def _absent(page: Page, document: str) -> list[Exchange]:
    name = _missing(page)
    return [_short(about_label(name, document, page.held_out), ABSENT, None)] if name else []


def _extraction(page: Page) -> Exchange:
    """Some of the values as JSON, sometimes with a field that the page lacks, which is null."""
    names = Counter(field_name(_name(fact)) for fact in page.facts)
    clear = [fact for fact in page.facts if names[field_name(_name(fact))] == 1 and field_name(_name(fact))]
    if not clear:
        clear = page.facts[:1]
    chosen = random.sample(clear, min(len(clear), random.randint(1, 7)))
    fields = {field_name(_name(fact)) or "value": fact.value for fact in chosen}
    shape = {name: value.kind for name, value in fields.items()}
    answer: dict[str, object] = {name: json_value(value) for name, value in fields.items()}
    for _ in range(random.choice([0, 0, 1, 2])):
        absent = field_name(_missing(page))
        if absent and absent not in names and absent not in shape:
            shape[absent], answer[absent] = random.choice(["string", "date", "decimal", "integer"]), None
    order = random.sample(list(shape), len(shape))
    listed = ", ".join(f'"{name}": {shape[name]}' for name in order)
    return Exchange(shape_prompt("{" + listed + "}"), to_json({name: answer[name] for name in order}))


def _name(fact: Fact) -> str:
    return fact.label or fact.role


def field_name(text: str) -> str:
    """The snake_case name of a label, as a target's author would write it."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _transcript(page: Page) -> Exchange | None:
    """The page as Markdown, if it is short and has nothing else."""
    keep = chance(0.5) if page.edges or page.feet else chance(0.3)
    blocks = [*page.edges, *page.markdown, *page.feet] if keep else page.markdown
    text = "\n\n".join(blocks)
    if not page.readable or not page.markdown or len(text) > MARKDOWN_CHARACTERS:
        return None
    return Exchange(markdown_prompt(keep_headers=keep), text)
