"""Asks a checkpoint about synthetic documents that it was not trained on: exactly right answers, by kind.

The documents come from the training's generator, with seeds of their own. Free questions and targets are
counted apart; a transcription is scored by the characters that are wrong in it (CER). Needs the [train]
extra.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.bench.flags import add_checkpoint, new_parser
from jobs.bench.models import this_device
from jobs.evaluation.scorers.texts import character_errors
from model.checkpoint import default_dtype, load_model
from model.engine.reference import ReferenceEngine
from model.engine.request import Branch, Group
from model.text.tokenizer import ImagePlaceholder, Tokenizer
from pipeline.plan.prompts import SHAPE_REQUEST, about, markdown_prompt, tokenize
from pipeline.rasterize.pdf import open_document, rasterize

if TYPE_CHECKING:
    from jobs.nano.synthetic.layout import Exchange
    from jobs.nano.synthetic.scenes import Pixels

FREE_QUESTIONS = 4  # of each page
TOKENS = 400  # the longest answer


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("reading", __doc__)
    add_checkpoint(parser)
    parser.add_argument("--pages", type=int, default=10, help="pages of each kind")
    parser.add_argument("--max-side", type=int, default=1024, help="longest edge of the pages in pixels")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A line for each kind of document, as soon as it is known, and one of JSON."""
    rows, transcribed = [], []
    for score in scores(arguments.model, arguments.pages, arguments.max_side):
        if isinstance(score, Transcribed):
            rate = score.errors / score.characters
            print(
                f"{score.kind:<20} {score.errors:>5} errors in {score.characters:>5}  {rate:4.0%}", flush=True
            )
            transcribed.append(vars(score))
            continue
        share = score.right / score.asked
        print(f"{score.kind:<20} {score.right:>4} of {score.asked:>4}  {share:4.0%}", flush=True)
        rows.append({"kind": score.kind, "asked": score.asked, "right": score.right})
    found = {"pages": arguments.pages, "rows": rows, "transcribed": transcribed}
    print(json.dumps({"benchmark": "reading"} | found))


@dataclass(kw_only=True)
class Score:
    """Answers asked for and exactly right."""

    kind: str
    asked: int = 0
    right: int = 0

    def count(self, answers: list[str], wanted: list[str]) -> None:
        self.asked += len(wanted)
        self.right += sum(a.strip() == b.strip() for a, b in zip(answers, wanted, strict=True))


@dataclass(kw_only=True)
class Transcribed:
    """Characters on pages, and those that are wrong in their Markdown."""

    kind: str
    characters: int = 0
    errors: int = 0

    def count(self, answer: str, text: str) -> None:
        self.characters += len(text)
        self.errors += character_errors(answer, text)


def scores(folder: Path, pages: int, max_side: int) -> Iterator[Score | Transcribed]:
    """Scores of a kind of document: its questions, its targets if it has some, and its transcriptions."""
    from jobs.nano.synthetic.layout import Exchange  # needs packages of the [train] extra, as does
    from jobs.nano.synthetic.scenes import KINDS, Scene, draw

    device = this_device()
    tokenizer = Tokenizer.from_file(folder / "tekken.json")
    model = load_model(folder, device=device, dtype=default_dtype(device))
    patch_size = model.config.vision.patch_size
    engine = ReferenceEngine(model, eos_id=tokenizer.eos)
    for kind in KINDS:
        random.seed(f"held out: {kind}")
        scene = Scene(pixels=None, mix={kind: 1}, max_side=max_side)
        free, filled = Score(kind=kind), Score(kind=f"{kind}, as JSON")
        read = Transcribed(kind=f"{kind}, as Markdown")
        transcription = Exchange(markdown_prompt(keep_headers=True), "")
        for _ in range(pages):
            drawn = draw(scene).page
            with open_document(drawn.sheet.pdf(), f"{kind}.pdf") as opened:
                image, _, _ = rasterize(opened, 1, max_side=max_side, patch_size=patch_size)
            picture = ImagePlaceholder(image.shape[0] // patch_size, image.shape[1] // patch_size)
            is_target = [exchange.prompt.startswith(SHAPE_REQUEST) for exchange in drawn.exchanges]
            questions = [e for e, target in zip(drawn.exchanges, is_target, strict=True) if not target]
            targets = [e for e, target in zip(drawn.exchanges, is_target, strict=True) if target]
            asked = [*questions[:FREE_QUESTIONS], *targets, transcription]
            group = _group(tokenizer, picture, image, asked, max_side)
            engine.submit(group)
            answers = [tokenizer.decode(engine.step()[0].token_ids) for _ in asked]
            read.count(answers.pop(), "".join(glyph.character for glyph in drawn.sheet.glyphs))
            wanted = [exchange.answer for exchange in asked[:-1]]
            cut = len(wanted) - len(targets)
            free.count(answers[:cut], wanted[:cut])
            filled.count(answers[cut:], wanted[cut:])
        yield free
        if filled.asked:
            yield filled
        yield read


def _group(
    tokenizer: Tokenizer, picture: ImagePlaceholder, image: Pixels, asked: list[Exchange], max_side: int
) -> Group:
    prompt = tokenize(tokenizer, [about([picture], exchange.prompt) for exchange in asked])
    branches = [
        Branch(id=str(index), ids=ids, max_new_tokens=TOKENS) for index, ids in enumerate(prompt.branches)
    ]
    return Group(id="page", prefix_ids=prompt.prefix, images=[image], branches=branches, max_side=max_side)
