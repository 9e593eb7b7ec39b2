"""Synthetic documents as training examples, through the pipeline's own rasterizer, prompts and tokenizer.

Out: packed batches without padding. `answers` holds the id that must follow each position of an answer;
`characters` what the first auxiliary head must find in a patch: up to SLOTS characters in reading order;
`points` where the others must point: from the end of a question to the patch in which its answer begins, and
to those by which a reader finds it (`layout.Exchange`); `links` leads from values to the same, unasked.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.nano.synthetic import asking, scenes
from jobs.nano.synthetic.ink import spoil
from jobs.nano.synthetic.layout import CUES, Cues, Exchange, Page
from jobs.nano.synthetic.scenes import Drawn, Pixels, Scene
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
_CODES = np.full(0x3000, CLASSES - 1, np.uint8)
for _character, _number in CHARACTERS.items():
    _CODES[ord(_character)] = _number
TEXT_TOKENS = 1000  # of all questions and answers of one example, but for its first
WAITING = 6  # pages that wait for their second use
LINKS = 96  # of a page
LARGE = 300_000  # pixels of a page that is used twice, with other questions and other ink


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation about one or two pages."""

    kind: str
    pages: list[Pixels]
    ids: list[int]
    targets: list[int]
    characters: list[NDArray[np.uint8]]
    points: list[tuple[int, int, int]]
    """(position in ids, patch of all pages in a row, what stands there: 0 the answer, then the cues)."""
    links: list[tuple[int, int, int]]
    """(patch of a value, patch of a cue, which cue from 0), of all pages in a row."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed examples, with every index that the network needs: a look-up on the GPU would make the CPU wait.

    P patches, T tokens, N points.
    """

    kinds: list[str]
    lengths: list[int]
    """Tokens of each example."""
    pages: list[int]
    """Patches of each page."""
    patches: Tensor
    """(P, C) bytes of all pages, patch by patch as in patch_conv's weight: channel, row, column."""
    grid: Tensor
    """(P, 2): row and column on the page."""
    characters: Tensor
    """(P, SLOTS)."""
    text: Tensor
    """(T - P,) ids of what is no patch."""
    order: Tensor
    """(T,): the row of each token among those of `text`, then those of the patches."""
    places: Tensor
    """(T,): the token's position in its example."""
    rows: Tensor
    """Rows of the T tokens that a token of an answer follows."""
    answers: Tensor
    """Those tokens."""
    turns: Tensor
    """(N,): row of a question's last token; the points to answers first, then those to each cue."""
    pointing: list[int]
    """How many of them point to answers, and to each cue."""
    points: Tensor
    """(N,): the patch, of all, to which it points."""
    turn_examples: Tensor
    """(N,): number of its example."""
    patch_rows: Tensor
    """(P,): row of each patch among the T tokens."""
    patch_examples: Tensor
    """(P,): number of its example."""
    patch_pages: Tensor
    """(P,): number of its page."""
    linked: Tensor
    """(L,): patch of a value; those with the first cue come first."""
    linking: list[int]
    """How many of them lead to each cue."""
    links: Tensor
    """(L,): the patch of the cue."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as drawn, before paper and scanner, and what stands in its patches."""

    drawn: Drawn
    pixels: Pixels
    characters: NDArray[np.uint8]
    patch_of: NDArray[np.int64]
    """The patch of each glyph, -1 for one outside the page."""
    links: list[tuple[int, int, int]]
    """(patch of a value, patch of a cue, which cue from 0)."""


def picture(drawn: Drawn, patch_size: int, *, scanned: bool = False) -> Picture:
    """The page as the model sees it; a scanned one is drawn larger, and shrunk by the model's own resize."""
    side = int(drawn.max_side * random.uniform(1.1, 1.7)) if scanned else drawn.max_side
    with open_document(drawn.page.sheet.pdf(), "synthetic.pdf") as opened:
        pixels, _, _ = rasterize(opened, 1, max_side=side, patch_size=patch_size)
    height, width = fit(*pixels.shape[:2], max_side=drawn.max_side, patch_size=patch_size)
    if (height, width) != pixels.shape[:2]:
        shrunk = to_pixels(pixels, height, width).permute(1, 2, 0) * torch.tensor(STD) + torch.tensor(MEAN)
        pixels = (shrunk * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    characters, patch_of = _characters(drawn.page, height, width, patch_size)
    return Picture(drawn, pixels, characters, patch_of, _links(drawn.page, patch_of))


def _links(page: Page, patch_of: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """At most LINKS of the page's links, as patches."""
    found = [(at, cue, which) for at, cues in asking.links(page) for which, cue in enumerate(cues)]
    inside = [
        (int(patch_of[at]), int(patch_of[cue]), which)
        for at, cue, which in found
        if cue is not None and max(at, cue) < len(patch_of) and min(patch_of[at], patch_of[cue]) >= 0
    ]
    return random.sample(inside, min(LINKS, len(inside)))


def _characters(
    page: Page, height: int, width: int, patch_size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(patches, SLOTS): characters by the patch of their centre, upper half first, then left to right; and
    the patch of each glyph."""
    rows, columns = height // patch_size, width // patch_size
    glyphs, sheet = page.sheet.glyphs, page.sheet
    x = np.array([glyph.x for glyph in glyphs], np.float64) * (width / sheet.width)
    y = np.array([glyph.y for glyph in glyphs], np.float64) * (height / sheet.height)
    codes = _CODES[np.minimum([ord(glyph.character) for glyph in glyphs], len(_CODES) - 1)]
    row, column = (y // patch_size).astype(np.int64), (x // patch_size).astype(np.int64)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    patch_of = np.where(inside, row * columns + column, -1)
    order = np.lexsort((x, y * 2 // patch_size, patch_of))
    order = order[patch_of[order] >= 0]
    patches = patch_of[order]
    starts = np.r_[True, patches[1:] != patches[:-1]] if len(patches) else np.zeros(0, bool)
    slot = np.arange(len(patches)) - np.maximum.accumulate(np.where(starts, np.arange(len(patches)), 0))
    found = np.zeros((rows * columns, SLOTS), np.uint8)
    shown = slot < SLOTS
    found[patches[shown], slot[shown]] = codes[order][shown]
    return found, patch_of


def example(pictures: Sequence[Picture], asked: int, tokenizer: Tokenizer, patch_size: int) -> Example:
    """A conversation about pages, with the questions of page number `asked` (from 0)."""
    kind = pictures[0].drawn.kind if len(pictures) == 1 else "two pages"
    pages = [spoil(one.pixels, one.drawn.kind) for one in pictures]
    exchanges = pictures[asked].drawn.page.exchanges
    if len(pictures) > 1:
        exchanges = [_of_page(one, asked) for one in exchanges]
    shapes = [ImagePlaceholder(page.shape[0] // patch_size, page.shape[1] // patch_size) for page in pages]
    ids, targets, turns = _conversation(tokenizer, shapes, exchanges)
    begins = _starts([len(one.characters) for one in pictures])
    before, points = begins[asked], []
    for position, glyphs in turns:
        for number, at in enumerate(glyphs):
            if (
                at is None
                or at >= len(pictures[asked].patch_of)
                or (patch := pictures[asked].patch_of[at]) < 0
            ):
                continue
            points.append((position, before + int(patch), number))
    links = [
        (start + patch, start + cue, which)
        for start, one in zip(begins, pictures, strict=True)
        for patch, cue, which in one.links
    ]
    return Example(kind, pages, ids, targets, [one.characters for one in pictures], points, links)


_PAGE_NAMES = ("On page {}: {}", "{1} (page {0})", "Look at page {}. {}", "Page {}: {}", "In image {}: {}")


def _of_page(exchange: Exchange, asked: int) -> Exchange:
    """The same question, said to be of one of the pages."""
    named = random.choice(_PAGE_NAMES)
    return replace(exchange, prompt=named.format(asked + 1, exchange.prompt))


def _conversation(
    tokenizer: Tokenizer, pictures: list[ImagePlaceholder], exchanges: list[Exchange]
) -> tuple[list[int], list[int], list[tuple[int, Cues]]]:
    """The ids of as many exchanges as fit, one turn each, and what must follow each position of an answer.

    Text never contains control tokens, so an answer is what stands between [/INST] and </s>. The last value
    has, for each turn, the position before its answer, and the glyphs of the answer and of its cues.
    """
    messages: list[Message] = []
    kept: list[Exchange] = []
    room = TEXT_TOKENS
    for exchange in exchanges:
        room -= len(tokenizer.encode(exchange.prompt)) + len(tokenizer.encode(exchange.answer))
        if room < 0 and messages:
            break
        first = tuple(pictures) if not messages else ()
        messages.append(Message("user", (*first, Text(exchange.prompt))))
        messages.append(Message("assistant", (Text(exchange.answer),)))
        kept.append(exchange)
    ids = tokenizer.encode_conversation(messages)
    targets, answering, begins = [], False, []
    for index, token in enumerate(ids[:-1]):
        if token == tokenizer.inst_end:
            begins.append(index)
        answering = token == tokenizer.inst_end or (answering and token != tokenizer.eos)
        targets.append(ids[index + 1] if answering else IGNORE)
    assert len(begins) == len(kept), (begins, len(kept))
    return ids, [*targets, IGNORE], [(at, (one.at, *one.cues)) for at, one in zip(begins, kept, strict=True)]


def examples(scene: Scene, tokenizer: Tokenizer, patch_size: int) -> Iterator[Example]:
    """Endless examples. Drawing costs more than asking: a whole page serves twice, some pages apart."""
    waiting: list[Picture] = []
    while True:
        drawn = scenes.draw(scene)
        first = picture(drawn, patch_size, scanned=random.random() < 0.06 and scene.pixels is None)
        yield example([first], 0, tokenizer, patch_size)
        if first.pixels.size // 3 >= LARGE:
            waiting.append(first)
        if len(waiting) < WAITING:
            continue
        second = waiting.pop(random.randrange(len(waiting)))
        asking.finish(second.drawn.page)
        if random.random() < 0.12:
            other = random.choice(waiting)
            pair = random.sample([second, other], 2)
            yield example(pair, pair.index(second), tokenizer, patch_size)
        else:
            yield example([second], 0, tokenizer, patch_size)


def alone(scene: Scene, tokenizer: Tokenizer, patch_size: int) -> Iterator[Example]:
    """Endless examples of one question each, for the evaluation, named by their task."""
    while True:
        drawn = scenes.draw(scene)
        seen = picture(drawn, patch_size)
        exchanges = list(drawn.page.exchanges)
        for exchange in exchanges[:4]:
            drawn.page.exchanges = [exchange]
            found = example([seen], 0, tokenizer, patch_size)
            yield Example(asking.task(drawn.kind, exchange), *(getattr(found, name) for name in _REST))


_REST = ("pages", "ids", "targets", "characters", "points", "links")


def batches(
    scene: Scene, tokenizer: Tokenizer, *, patch_size: int, tokens: int, seed: int, single: bool = False
) -> Iterator[Batch]:
    """Endless batches of about `tokens` tokens, the same for the same seed."""
    random.seed(seed)
    source = (alone if single else examples)(scene, tokenizer, patch_size)
    while True:
        collected: list[Example] = []
        total = 0
        while total < tokens:
            collected.append(next(source))
            total += len(collected[-1].ids)
        yield pack(collected, image_token=tokenizer.img, patch_size=patch_size)


def pack(collected: list[Example], *, image_token: int, patch_size: int) -> Batch:
    """Examples behind one another, without padding."""
    pages = [page for one in collected for page in one.pages]
    grids = [(page.shape[0] // patch_size, page.shape[1] // patch_size) for page in pages]
    lengths = [len(one.ids) for one in collected]
    counts = [sum(len(part) for part in one.characters) for one in collected]
    ids = np.array([token for one in collected for token in one.ids])
    targets = np.array([target for one in collected for target in one.targets])
    is_patch, rows = ids == image_token, np.flatnonzero(targets != IGNORE)
    order = np.where(is_patch, (~is_patch).sum() + is_patch.cumsum() - 1, (~is_patch).cumsum() - 1)
    begins = zip(collected, _starts(lengths), _starts(counts), strict=True)
    points = [
        (start + at, before + patch, number, what)
        for number, (one, start, before) in enumerate(begins)
        for at, patch, what in one.points
    ]
    points.sort(key=itemgetter(3))
    links = [
        (start + patch, start + cue, which)
        for one, start in zip(collected, _starts(counts), strict=True)
        for patch, cue, which in one.links
    ]
    links.sort(key=itemgetter(2))
    linked, cues, which = torch.tensor(links, dtype=torch.long).reshape(-1, 3).unbind(1)
    turns, pointed, asked_of, what = torch.tensor(points, dtype=torch.long).reshape(-1, 4).unbind(1)
    return Batch(
        kinds=[one.kind for one in collected],
        lengths=lengths,
        pages=[rows * columns for rows, columns in grids],
        patches=torch.from_numpy(np.concatenate([_cut(page, patch_size) for page in pages])),
        grid=torch.from_numpy(np.concatenate([np.indices(grid).reshape(2, -1).T for grid in grids])),
        characters=torch.from_numpy(np.concatenate([part for one in collected for part in one.characters])),
        text=torch.from_numpy(ids[~is_patch]),
        order=torch.from_numpy(order),
        places=torch.from_numpy(np.concatenate([np.arange(length) for length in lengths])),
        rows=torch.from_numpy(rows),
        answers=torch.from_numpy(targets[rows]),
        turns=turns,
        pointing=what.bincount(minlength=1 + CUES).tolist(),
        points=pointed,
        turn_examples=asked_of,
        patch_rows=torch.from_numpy(np.flatnonzero(is_patch)),
        patch_examples=torch.from_numpy(np.repeat(np.arange(len(collected)), counts)),
        patch_pages=torch.from_numpy(
            np.repeat(np.arange(len(pages)), [rows * columns for rows, columns in grids])
        ),
        linked=linked,
        linking=which.bincount(minlength=CUES).tolist(),
        links=cues,
    )


def _starts(lengths: Sequence[int]) -> list[int]:
    return [0, *accumulate(lengths[:-1])]


def _cut(page: Pixels, side: int) -> Pixels:
    """(patches, channels * side * side) of an image (height, width, channels)."""
    height, width, channels = page.shape
    windows = page.reshape(height // side, side, width // side, side, channels).transpose(0, 2, 4, 1, 3)
    return windows.reshape(-1, channels * side * side)
