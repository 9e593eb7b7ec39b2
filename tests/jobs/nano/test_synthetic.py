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

from jobs.nano.synthetic import words
from jobs.nano.synthetic.examples import CHARACTERS, IGNORE, Example, batches, example
from jobs.nano.synthetic.forms import figure, to_json
from jobs.nano.synthetic.scenes import KINDS, Pixels, Scene, draw, spoil
from jobs.nano.synthetic.sheet import Sheet
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


@pytest.mark.parametrize("kind", list(KINDS))
def test_answers_stand_on_the_page(kind: str) -> None:
    """Every answer to a free question is made of characters that were drawn."""
    random.seed(f"answers {kind}")
    scene = Scene(pixels=None, mix={kind: 1}, max_side=256)
    for _ in range(15):
        found, drawn = draw(scene)
        assert found == kind
        inked = {glyph.character for glyph in drawn.sheet.glyphs}
        counted = ("How many", "Extract")
        for asked in drawn.exchanges:
            if not asked.prompt.startswith(counted):
                assert set("".join(asked.answer.split())) <= inked, asked


@pytest.mark.parametrize(("kind", "target"), [("invoice", Invoice), ("receipt", Receipt)])
def test_targets_validate(kind: str, target: type[Invoice] | type[Receipt]) -> None:
    random.seed(f"targets {kind}")
    scene = Scene(pixels=None, mix={kind: 1}, max_side=256)
    asked = [one for _ in range(20) for one in draw(scene)[1].exchanges if one.prompt.startswith("Extract")]
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
    list(enumerate(["%Y-%m-%d", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%m/%d/%Y"])),
)
def test_json_of_a_date_is_the_day_shown(style: int, form: str) -> None:
    for _ in range(40):
        day = words.day(style)
        assert datetime.strptime(day.shown, form).date().isoformat() == day.json


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
    one = example(scene, TOKENIZER, 16)
    assert len(one.targets) == len(one.ids)
    for position, target in enumerate(one.targets):
        assert target in (IGNORE, one.ids[position + 1] if position + 1 < len(one.ids) else IGNORE)
    text = TOKENIZER.decode(one.ids)
    answers = _answers(one)
    assert answers
    for answer in answers:
        assert f"phrase.{answer}" in text or f"}}{answer}" in text


def test_characters_read_a_line_in_order() -> None:
    random.seed(2)
    scene = Scene(pixels=(32, 128), mix={"lines": 1}, max_side=128)
    for _ in range(10):
        one = example(scene, TOKENIZER, 16)
        if "\n" in _answers(one)[0] or len(_answers(one)) > 1:
            continue
        names = {number: character for character, number in CHARACTERS.items()}
        grid = one.characters[0].reshape(2, 8, -1)
        seen = "".join(names.get(int(n), "?") for row in grid for patch in row for n in patch if n)
        assert seen == "".join(_answers(one)[0].split())
        return
    pytest.fail("no page of a single line in ten")


def test_batches_repeat_with_their_seed() -> None:
    scene = Scene(pixels=None, mix={"chart": 1, "receipt": 1}, max_side=256)

    def first(seed: int) -> list[int]:
        batch = next(batches(scene, TOKENIZER, patch_size=16, tokens=900, seed=seed))
        assert sum(batch.lengths) == len(batch.ids) == len(batch.targets)
        assert len(batch.pixels) == sum(height * width * 3 for height, width in batch.sizes)
        assert len(batch.characters) == sum(height * width // 256 for height, width in batch.sizes)
        return [int(token) for token in batch.ids]

    assert first(5) == first(5)
    assert first(5) != first(6)


def test_spoiled_pages_keep_their_shape() -> None:
    random.seed(8)
    sheet = Sheet(200, 100)
    sheet.text(10, 10, "Paper", "Helvetica", 20)
    page = rendered(sheet, 320)
    spoiled = [spoil(page) for _ in range(30)]
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
        "    print([draw(scene)[1].exchanges for _ in range(4)])\n"
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
