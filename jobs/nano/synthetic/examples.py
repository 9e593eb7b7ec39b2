"""Synthetic documents as training examples, through the pipeline's own rasterizer, prompts and tokenizer.

Out: packed batches without padding. `targets` holds the id that must follow each position of an answer,
IGNORE elsewhere; `characters` what the auxiliary head must find in each patch: up to SLOTS characters in
reading order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.nano.synthetic import scenes
from jobs.nano.synthetic.layout import Drawn, Exchange
from jobs.nano.synthetic.scenes import Pixels, Scene
from jobs.nano.synthetic.sheet import Glyph
from model.network.image_grid import fit
from model.network.preprocess import MEAN, STD, to_pixels
from model.text.tokenizer import ImagePlaceholder, Message, Text, Tokenizer
from pipeline.rasterize.pdf import open_document, rasterize

IGNORE = -1
SLOTS = 6
CHARACTERS = {
    character: index + 1
    for index, character in enumerate(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:;-/$%£€'\"?!#&()@+*=|_"
    )
}
CLASSES = len(CHARACTERS) + 2  # 0: no character; the last: any other
TEXT_TOKENS = 420  # of all questions and answers of one example


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation about one or two pages."""

    kind: str
    pages: list[Pixels]
    ids: list[int]
    targets: list[int]
    characters: list[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed examples. `pixels` are the bytes of all pages in a row, `sizes` their (height, width)."""

    kinds: list[str]
    pixels: Tensor
    sizes: list[tuple[int, int]]
    ids: Tensor
    targets: Tensor
    lengths: list[int]
    characters: Tensor


def example(scene: Scene, tokenizer: Tokenizer, patch_size: int) -> Example:
    """A random document of the scene; of whole pages sometimes two, asked about one of them."""
    kind, drawn = scenes.draw(scene)
    documents, exchanges = [drawn], drawn.exchanges
    if scene.pixels is None and random.random() < 0.06:
        other_kind, other = scenes.draw(scene)
        clear = [exchange for exchange in exchanges if _belongs_to_one(exchange, other)]
        if other_kind != kind and clear:
            documents, exchanges = random.sample([drawn, other], 2), clear
            kind = "two pages"
    max_side = scene.max_side if scene.pixels or random.random() < 0.9 else 768
    pages, characters = [], []
    for document in documents:
        page = _page(document, max_side, patch_size, scanned=scene.pixels is None and random.random() < 0.06)
        pages.append(page)
        characters.append(_characters(document, page.shape[0], page.shape[1], patch_size))
    pictures = [ImagePlaceholder(page.shape[0] // patch_size, page.shape[1] // patch_size) for page in pages]
    ids, targets = _conversation(tokenizer, pictures, exchanges)
    return Example(kind, pages, ids, targets, characters)


def _belongs_to_one(exchange: Exchange, other: Drawn) -> bool:
    """Whether a question cannot be meant for the other page."""
    vague = any(
        word in exchange.prompt
        for word in ("title", "Read", "date?", "value?", "section", "rows", "How many")
    )
    return not vague and exchange.prompt not in [asked.prompt for asked in other.exchanges]


def _page(document: Drawn, max_side: int, patch_size: int, *, scanned: bool) -> Pixels:
    """The page as the model sees it; a scanned one is drawn larger, and shrunk by the model's own resize."""
    side = int(max_side * random.uniform(1.1, 1.7)) if scanned else max_side
    with open_document(document.sheet.pdf(), "synthetic.pdf") as opened:
        pixels, _, _ = rasterize(opened, 1, max_side=side, patch_size=patch_size)
    pixels = scenes.spoil(pixels)
    height, width = fit(*pixels.shape[:2], max_side=max_side, patch_size=patch_size)
    if (height, width) == pixels.shape[:2]:
        return pixels
    shrunk = to_pixels(pixels, height, width).permute(1, 2, 0) * torch.tensor(STD) + torch.tensor(MEAN)
    return (shrunk * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def _characters(document: Drawn, height: int, width: int, patch_size: int) -> NDArray[np.uint8]:
    """(patches, SLOTS): characters by the patch of their centre, upper half first, then left to right."""
    rows, columns = height // patch_size, width // patch_size
    found = np.zeros((rows, columns, SLOTS), np.uint8)
    used = np.zeros((rows, columns), np.uint8)
    across, down = width / document.sheet.width, height / document.sheet.height

    def reading_order(glyph: Glyph) -> tuple[int, float]:
        return int(glyph.y * down * 2 // patch_size), glyph.x

    for glyph in sorted(document.sheet.glyphs, key=reading_order):
        row, column = int(glyph.y * down // patch_size), int(glyph.x * across // patch_size)
        if 0 <= row < rows and 0 <= column < columns and used[row, column] < SLOTS:
            found[row, column, used[row, column]] = CHARACTERS.get(glyph.character, CLASSES - 1)
            used[row, column] += 1
    return found.reshape(-1, SLOTS)


def _conversation(
    tokenizer: Tokenizer, pictures: list[ImagePlaceholder], exchanges: list[Exchange]
) -> tuple[list[int], list[int]]:
    """The ids of as many exchanges as fit, one turn each, and what must follow each position of an answer.

    Text never contains control tokens, so an answer is what stands between [/INST] and </s>.
    """
    messages: list[Message] = []
    room = TEXT_TOKENS
    for exchange in exchanges:
        room -= len(tokenizer.encode(exchange.prompt)) + len(tokenizer.encode(exchange.answer))
        if room < 0 and messages:
            break
        first = tuple(pictures) if not messages else ()
        messages.append(Message("user", (*first, Text(exchange.prompt))))
        messages.append(Message("assistant", (Text(exchange.answer),)))
    ids = tokenizer.encode_conversation(messages)
    targets, answering = [], False
    for index, token in enumerate(ids[:-1]):
        answering = token == tokenizer.inst_end or (answering and token != tokenizer.eos)
        targets.append(ids[index + 1] if answering else IGNORE)
    return ids, [*targets, IGNORE]


def batches(
    scene: Scene, tokenizer: Tokenizer, *, patch_size: int, tokens: int, seed: int
) -> Iterator[Batch]:
    """Endless batches of about `tokens` tokens, the same for the same seed."""
    random.seed(seed)
    while True:
        collected: list[Example] = []
        total = 0
        while total < tokens:
            collected.append(example(scene, tokenizer, patch_size))
            total += len(collected[-1].ids)
        pages = [page for one in collected for page in one.pages]
        yield Batch(
            kinds=[one.kind for one in collected],
            pixels=torch.from_numpy(np.concatenate([page.reshape(-1) for page in pages])),
            sizes=[(page.shape[0], page.shape[1]) for page in pages],
            ids=torch.tensor([token for one in collected for token in one.ids]),
            targets=torch.tensor([target for one in collected for target in one.targets]),
            lengths=[len(one.ids) for one in collected],
            characters=torch.from_numpy(
                np.concatenate([part for one in collected for part in one.characters])
            ),
        )
