"""Synthetic documents are what they say: glyphs where they were drawn, answers that stand on the page."""

import json
import os
import random
import subprocess
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.nano.synthetic import abroad, words
from jobs.nano.synthetic.asking import links
from jobs.nano.synthetic.examples import CHARACTERS, IGNORE, Example, alone, batches, example, picture
from jobs.nano.synthetic.ink import spoil
from jobs.nano.synthetic.layout import Source
from jobs.nano.synthetic.scenes import KINDS, Pixels, Scene, draw
from jobs.nano.synthetic.sheet import Sheet
from jobs.nano.synthetic.trade import figure, to_json
from jobs.nano.synthetic.wording import DOCUMENTS, ROLES, about_label, about_role, held, pick
from model.text.tokenizer import Tokenizer
from pipeline.parse.answers import read_target
from pipeline.rasterize.pdf import open_document, rasterize
from schemas.targets import Invoice, Receipt

TOKENIZER = Tokenizer.from_file(Path("model/nano/tekken.json"))


def rendered(sheet: Sheet, max_side: int) -> Pixels:
    with open_document(sheet.pdf(), "sheet.pdf") as opened:
        return rasterize(opened, 1, max_side=max_side, patch_size=16)[0]


@pytest.mark.parametrize("skew", [0.0, 6.0, -3.0])
@pytest.mark.parametrize("font", ["Helvetica", "Courier-Bold", "Times-Roman"])
def test_glyphs_are_where_the_ink_is(font: str, skew: float) -> None:
    sheet = Sheet(300, 200, skew=skew)
    for y in (20, 90, 160):
        sheet.text(60, y, "HH  HH H", font, 18)
    pixels = rendered(sheet, 1200)
    glyphs = sheet.glyphs
    assert [glyph.character for glyph in glyphs] == ["H"] * 15
    for glyph in glyphs:  # the bar of an H crosses the centre of its cell
        x, y = int(glyph.x * 4), int(glyph.y * 4)
        assert pixels[y - 8 : y + 9, x - 4 : x + 5].min() < 100, glyph
    ink = np.argwhere(pixels.min(axis=2) < 100)
    reach = 4 * 18
    for y, x in ink[:: len(ink) // 200]:
        assert min(abs(g.x * 4 - x) + abs(g.y * 4 - y) for g in glyphs) < reach


@pytest.mark.parametrize("turn", [90.0, -90.0, 30.0])
def test_glyphs_of_a_turned_and_stretched_line_are_where_the_ink_is(turn: float) -> None:
    sheet = Sheet(300, 300)
    sheet.text(150, 150, "HHHH H", "Helvetica", 18, turn=turn, stretch=1.4, align="center")
    pixels = rendered(sheet, 1200)
    assert len(sheet.glyphs) == 5
    for glyph in sheet.glyphs:
        x, y = int(glyph.x * 4), int(glyph.y * 4)
        assert pixels[y - 6 : y + 7, x - 6 : x + 7].min() < 100, glyph


def test_a_trimmed_sheet_keeps_its_top() -> None:
    sheet = Sheet(200, 400)
    sheet.text(20, 50, "HH", "Helvetica", 20)
    whole = rendered(sheet, 800)
    sheet = Sheet(200, 400)
    sheet.text(20, 50, "HH", "Helvetica", 20)
    sheet.trim(200)
    assert (rendered(sheet, 400)[:380] == whole[:380]).all()


@pytest.mark.parametrize("kind", list(KINDS))
def test_answers_stand_on_the_page(kind: str) -> None:
    """What an exchange points to is drawn there, and is its answer; a yes points to what it is about."""
    random.seed(f"answers {kind}")
    scene = Scene(pixels=None, mix={kind: 1}, max_side=256)
    pointed = 0
    for _ in range(12):
        drawn = draw(scene)
        assert drawn.kind == kind
        inked = "".join(glyph.character for glyph in drawn.page.sheet.glyphs)
        for asked in drawn.page.exchanges:
            if asked.at is None or asked.answer in ("Yes", "No"):
                continue
            pointed += 1
            wanted = "".join(asked.answer.split())
            assert inked.startswith(wanted[:6], asked.at), (asked, inked[asked.at : asked.at + 20])
    assert pointed


def test_cues_are_what_the_question_names() -> None:
    """Of a look-up its label; of a cell the name of its row and the head of its column."""
    random.seed(4)
    found = {"form": 0, "table": 0}
    for kind in found:
        for _ in range(8):
            page = draw(Scene(pixels=None, mix={kind: 1}, max_side=256)).page
            inked = "".join(glyph.character for glyph in page.sheet.glyphs).lower()
            for asked in page.exchanges:
                question = "".join(asked.prompt.split()).lower()
                for cue in asked.cues:
                    if cue is not None and asked.at is not None and "which" not in question:
                        found[kind] += inked[cue : cue + 3] in question
                        assert cue != asked.at
    assert found["form"] > 20, found
    assert found["table"] > 40, found


@pytest.mark.parametrize("kind", ["form", "table", "chart", "invoice"])
def test_values_are_linked_to_what_names_them(kind: str) -> None:
    """The first cue of a value is what a question calls it by, the second the head of its column."""
    random.seed(f"links {kind}")
    found = 0
    for _ in range(8):
        page = draw(Scene(pixels=None, mix={kind: 1}, max_side=256)).page
        linked = dict(links(page))
        for asked in page.exchanges:
            if asked.at in linked and len(asked.cues) == len(linked[asked.at]) and any(asked.cues):
                assert linked[asked.at] == asked.cues
                found += 1
    assert found > 10


def test_links_lie_on_the_page_of_their_value() -> None:
    scene = Scene(pixels=(256, 256), mix={"table": 1, "form": 1}, max_side=256)
    batch = next(batches(scene, TOKENIZER, patch_size=16, tokens=4000, seed=3))
    assert len(batch.linked) == len(batch.links) == sum(batch.linking) > 40
    assert all(batch.linking)
    assert torch.equal(batch.patch_pages[batch.linked], batch.patch_pages[batch.links])
    assert batch.patch_pages.bincount().tolist() == batch.pages
    assert batch.characters[batch.linked].any(1).all()
    assert batch.characters[batch.links].any(1).all()


@pytest.mark.parametrize(("kind", "target"), [("invoice", Invoice), ("receipt", Receipt)])
def test_targets_validate(kind: str, target: type[Invoice] | type[Receipt]) -> None:
    random.seed(f"targets {kind}")
    scene = Scene(pixels=None, mix={kind: 1}, max_side=256)
    asked = [one for _ in range(20) for one in draw(scene).page.targets]
    assert len(asked) > 5
    for one in asked:
        value = read_target(target, one.answer)
        assert isinstance(value, target), value
        assert f'"total": {value.total}' in one.answer  # with both of its places


def test_figures_keep_their_places() -> None:
    text = to_json({"a": figure(12.5), "b": [figure(3)], "c": None, "d": 'say "12.5"'})
    assert text == '{"a": 12.50, "b": [3.00], "c": null, "d": "say \\"12.5\\""}'
    assert json.loads(text)["d"] == 'say "12.5"'


@pytest.mark.parametrize(
    ("style", "form"),
    [
        *enumerate(["%Y-%m-%d", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%m/%d/%Y", "%d/%m/%Y"]),
        *enumerate(["%d-%m-%Y", "%m/%d/%y", "%d.%m.%Y", "%d-%b-%Y", "%d/%m/%Y"], start=8),
    ],
)
def test_json_of_a_date_is_the_day_shown(style: int, form: str) -> None:
    for _ in range(40):
        day = words.day(style)
        assert isinstance(day.json, str)
        read = datetime.strptime(day.shown, form).date().isoformat()
        assert read[-8:] == day.json[-8:]  # a year of two digits leaves the century open


def _answers(one: Example) -> list[str]:
    """The texts that the targets spell: each run ends with </s>."""
    runs: list[list[int]] = [[]]
    for token, after in pairwise([*one.targets, IGNORE]):
        if token != IGNORE:
            runs[-1].append(token)
            if after == IGNORE:
                runs.append([])
    assert all(run[-1] == TOKENIZER.eos for run in runs[:-1])
    return [TOKENIZER.decode(run) for run in runs[:-1]]


def test_targets_spell_the_answers_and_nothing_else() -> None:
    random.seed(11)
    scene = Scene(pixels=(256, 256), mix={"form": 1}, max_side=256)
    one = example([picture(draw(scene), 16)], 0, TOKENIZER, 16)
    assert len(one.targets) == len(one.ids)
    for position, target in enumerate(one.targets):
        assert target in (IGNORE, one.ids[position + 1] if position + 1 < len(one.ids) else IGNORE)
    text = TOKENIZER.decode(one.ids)
    answers = _answers(one)
    assert answers
    for answer in answers:
        assert answer in text
    for position, patch, _ in one.points:
        assert one.targets[position] != IGNORE
        assert one.characters[0][patch].any()


def test_characters_read_a_line_in_order() -> None:
    random.seed(2)
    scene = Scene(pixels=(32, 128), mix={"lines": 1}, max_side=128)
    for _ in range(60):
        drawn = draw(scene)
        lines = [one.answer for one in drawn.page.exchanges if one.prompt.startswith("Read the text.")]
        if not lines or "\n" in lines[0] or len({glyph.y for glyph in drawn.page.sheet.glyphs}) > 1:
            continue
        one = example([picture(drawn, 16)], 0, TOKENIZER, 16)
        names = {number: character for character, number in CHARACTERS.items()}
        grid = one.characters[0].reshape(2, 8, -1)
        seen = "".join(names.get(int(n), "?") for row in grid for patch in row for n in patch if n)
        wanted = "".join(c if c in CHARACTERS else "?" for c in lines[0] if not c.isspace())
        if "?" not in wanted:
            assert seen == wanted
        return
    pytest.fail("no page of a single line in sixty")


def test_batches_repeat_with_their_seed() -> None:
    scene = Scene(pixels=None, mix={"chart": 1, "receipt": 1}, max_side=256)

    def first(seed: int) -> list[int]:
        batch = next(batches(scene, TOKENIZER, patch_size=16, tokens=900, seed=seed))
        assert sum(batch.lengths) == len(batch.order) == len(batch.places)
        assert sum(batch.pages) == len(batch.patches) == len(batch.grid) == len(batch.characters)
        assert batch.order.sort().values.tolist() == list(range(len(batch.text) + len(batch.patches)))
        assert batch.order[batch.patch_rows].tolist() == list(range(len(batch.text), len(batch.order)))
        assert batch.places[batch.rows].min() > 0
        return [int(token) for token in batch.text]

    assert first(5) == first(5)
    assert first(5) != first(6)


def test_spoiled_pages_keep_their_shape() -> None:
    random.seed(8)
    sheet = Sheet(200, 100)
    sheet.text(10, 10, "Paper", "Helvetica", 20)
    page = rendered(sheet, 320)
    spoiled = [spoil(page, kind) for kind in ("form", "receipt", "chart") for _ in range(20)]
    assert {one.shape for one in spoiled} == {page.shape}
    assert any((one != page).any() for one in spoiled)


def test_equal_seeds_draw_equal_documents_in_other_processes() -> None:
    """Strings hash differently in every process, so that the order of a set must not reach a page."""
    program = (
        "import random\n"
        "from jobs.nano.synthetic.scenes import KINDS, Scene, draw\n"
        "for kind in KINDS:\n"
        "    random.seed(kind)\n"
        "    scene = Scene(pixels=None, mix={kind: 1}, max_side=256)\n"
        "    print([draw(scene).page.exchanges for _ in range(3)])\n"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]


def test_wordings_are_many_and_those_of_the_evaluation_are_never_trained() -> None:
    random.seed(4)
    forms = tuple(f"What is form {index}?" for index in range(200))
    trained = {pick(forms, False) for _ in range(2000)}
    unseen = {pick(forms, True) for _ in range(500)}
    assert trained.isdisjoint(unseen)
    assert all(map(held, unseen))
    for role in ROLES:
        assert len({about_role(role, "invoice", False).lower() for _ in range(300)}) > 60, role


def test_a_question_for_a_label_names_it() -> None:
    random.seed(5)
    for document in DOCUMENTS:
        for _ in range(40):
            assert "job no" in about_label("JOB NO", document, False).lower()


def test_an_evaluation_asks_one_question_at_a_time() -> None:
    random.seed(6)
    scene = Scene(pixels=None, mix={"receipt": 1}, max_side=256, source=Source(unseen_wordings=True))
    found = alone(scene, TOKENIZER, 16)
    for one in (next(found) for _ in range(6)):
        assert len(_answers(one)) == 1
        assert one.kind.split(",")[0] == "receipt"


def test_a_page_serves_twice_with_other_questions() -> None:
    scene = Scene(pixels=None, mix={"receipt": 1}, max_side=1024)
    batch = next(batches(scene, TOKENIZER, patch_size=16, tokens=26_000, seed=2))
    assert len(batch.lengths) == len(batch.kinds)
    assert len(batch.turns) == len(batch.points) == len(batch.turn_examples) == sum(batch.pointing)
    assert torch.equal(batch.patch_examples[batch.points], batch.turn_examples)
    ends = np.cumsum(batch.lengths)
    assert np.searchsorted(ends, batch.turns.numpy(), side="right").tolist() == batch.turn_examples.tolist()
    assert set(batch.text[batch.order[batch.turns]].tolist()) == {TOKENIZER.inst_end}


@pytest.mark.parametrize(
    ("shown", "answer", "skipped"),
    [
        ("RM 85.54", "85.54", 2), ("RM8.10", "8.10", 2), ("56,02 €", "56,02", 0), ("€ 717.97", "717.97", 1),
        ("1 234,50 €", "1 234,50", 0), ("$4.11", "$4.11", 0), ("AB 1234", "AB 1234", 0), ("12", "12", 0),
    ],
)  # fmt: skip
def test_an_amount_is_answered_without_a_currency_that_stands_apart(
    shown: str, answer: str, skipped: int
) -> None:
    assert words.bare(shown) == (answer, skipped)


def test_invoices_from_abroad_name_their_fields_in_their_language() -> None:
    random.seed(7)
    labels = {fact.label.lower() for _ in range(60) for fact in draw(
        Scene(pixels=None, mix={"invoice": 1}, max_side=256)).page.facts}  # fmt: skip
    for roles in abroad.LABELS.values():
        assert labels & {name.lower() for name in roles["number"].split(",")}
    assert abroad.label("", "total", "Total") == abroad.label("Dutch", "terms", "Total") == "Total"


def test_the_date_of_a_receipt_may_stand_at_its_foot() -> None:
    random.seed(8)
    pages = [draw(Scene(pixels=None, mix={"receipt": 1}, max_side=256)).page for _ in range(30)]
    dates = [(page, fact) for page in pages for fact in page.facts if fact.role == "date"]
    assert len(dates) == len(pages)
    for page, fact in dates:
        inked = "".join(glyph.character for glyph in page.sheet.glyphs[fact.at : fact.at + 40])
        assert inked.startswith("".join(fact.value.shown.split())[:6])
    total = {id(page): fact.at for page in pages for fact in page.facts if fact.role == "total"}
    assert any(fact.at > total[id(page)] for page, fact in dates)
