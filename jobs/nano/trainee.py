"""The model in training: Pixtral with auxiliary heads, its losses, and how well it answers.

In: packed batches of synthetic examples. On the vision encoder one head says what stands in each patch, and
others link the patch of a value to those by which a reader finds it, as the name of its row and the head of
its column, and say what is written there: a question can only pick a cell by its names if the cell's patch
knows them. Inside the decoder one says at which row and column of the page each patch lies, and others point
from the end of a question: early to the name of a row and the head of a column, later to the patch in which
the answer begins. No checkpoint holds them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.nano.synthetic.examples import CLASSES, IGNORE, SLOTS, Batch
from jobs.nano.synthetic.layout import CUES
from model.config import PixtralConfig
from model.network.layers import Segments, TransformerBlock, frequencies, packed_attention, rotation
from model.network.pixtral import Pixtral
from model.network.preprocess import MEAN, STD

POINTER_WIDTH = 64
POINTING_WEIGHT = 0.25
LINKING_WEIGHT = 0.15
NAMING_WEIGHT = 0.2
PLACING_WEIGHT = 0.05
NAME_PATCHES = 2  # of a name that its values must know
PLACES = 64  # rows and columns of patches that a page has at most


class Found(NamedTuple):
    """What a batch gave.

    Logits (answer positions, vocabulary), (patches, SLOTS, CLASSES), (links, NAME_PATCHES * SLOTS, CLASSES)
    and (patches, 2, PLACES); the scores (points, patches) and (links, patches), -inf for a patch of another
    example.
    """

    answers: Tensor
    characters: Tensor
    pointed: Tensor
    linked: Tensor
    named: Tensor
    placed: Tensor


class Losses(NamedTuple):
    """Cross-entropies."""

    answers: Tensor
    characters: Tensor
    pointing: Tensor
    linking: Tensor
    naming: Tensor
    placing: Tensor

    def weighed(self) -> Tensor:
        pointing, linking = POINTING_WEIGHT * self.pointing, LINKING_WEIGHT * self.linking
        naming, placing = NAMING_WEIGHT * self.naming, PLACING_WEIGHT * self.placing
        return self.answers + self.characters + pointing + linking + naming + placing


class Trainee(nn.Module):
    """Pixtral with auxiliary heads on its vision encoder and inside its decoder.

    It computes what `Pixtral` does, in pieces between attentions, which a GPU's compiler can fuse: a small
    model waits for the launches of its many small kernels otherwise.
    """

    def __init__(self, config: PixtralConfig, *, compiled: bool = False) -> None:
        super().__init__()
        self.pixtral = Pixtral(config)
        self.characters = nn.Linear(config.vision.hidden_size, SLOTS * CLASSES)
        self.queries, self.keys = (
            nn.ModuleList(nn.Linear(config.dim, POINTER_WIDTH, bias=False) for _ in range(1 + CUES))
            for _ in range(2)
        )
        self.link_queries, self.link_keys = (
            nn.ModuleList(
                nn.Linear(config.vision.hidden_size, POINTER_WIDTH, bias=False) for _ in range(CUES)
            )
            for _ in range(2)
        )
        self.names = nn.ModuleList(
            nn.Linear(config.vision.hidden_size, NAME_PATCHES * SLOTS * CLASSES) for _ in range(CUES)
        )
        self.places = nn.Linear(config.dim, 2 * PLACES)
        depth = config.n_layers + config.vision.num_hidden_layers
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            embedding = "tok_embeddings" in name or "output" in name
            nn.init.normal_(parameter, std=0.02 if embedding else parameter[0].numel() ** -0.5)
            if name.endswith(("wo.weight", "w2.weight")):
                parameter.data.mul_((2 * depth) ** -0.5)
        for head in (self.characters, self.places, *self.queries, *self.link_queries, *self.names):
            nn.init.zeros_(head.weight)  # random ones would first spoil what given weights can read
        middle = config.n_layers // 2
        self._pointing_layers = (middle, *[max(0, middle - 2)] * CUES)
        """Behind which block each head points; behind the last of them patches are placed."""
        compiler = partial(torch.compile, dynamic=True) if compiled else lambda function: function
        self._embed, self._project = compiler(_embed), compiler(_project)
        self._finish, self._losses = compiler(_finish), compiler(_losses)

    def forward(self, batch: Batch) -> Found:
        pixtral, config = self.pixtral, self.pixtral.config
        x_PD = self._embed(
            pixtral.vision_encoder.ln_pre, pixtral.vision_encoder.patch_conv.weight, batch.patches
        )
        turns_P2H = _turns(batch.grid, config.vision.head_dim, config.vision.rope_theta)
        attend = self._attention(batch.pages, causal=False, device=x_PD.device)
        for block in pixtral.vision_encoder.transformer.layers:
            x_PD = self._finish(block, x_PD, attend(*self._project(block, x_PD, turns_P2H)))
        characters = self.characters(x_PD).view(-1, SLOTS, CLASSES)
        linked = torch.cat([self._link(x_PD, batch, what) for what in range(CUES)])
        values = batch.linked.split_with_sizes(batch.linking)
        named = torch.cat(
            [head(x_PD.index_select(0, at)) for head, at in zip(self.names, values, strict=True)]
        )
        named = named.view(-1, NAME_PATCHES * SLOTS, CLASSES)

        images_PD = pixtral.vision_language_adapter(x_PD)
        text_D = pixtral.tok_embeddings(batch.text)
        x_TD = torch.cat((text_D, images_PD.to(text_D.dtype))).index_select(0, batch.order)
        turns_T2H = pixtral.rotation(batch.places, x_TD)
        attend = self._attention(batch.lengths, causal=True, device=x_TD.device)
        pointed: dict[int, Tensor] = {}
        for index, block in enumerate(pixtral.layers):
            x_TD = self._finish(block, x_TD, attend(*self._project(block, x_TD, turns_T2H)))
            for what, layer in enumerate(self._pointing_layers):
                if index == layer:
                    pointed[what] = self._point(x_TD, batch, what)
            if index == self._pointing_layers[-1]:
                placed = self.places(x_TD.index_select(0, batch.patch_rows)).view(-1, 2, PLACES)
        logits = pixtral.output(pixtral.norm(x_TD.index_select(0, batch.rows)))
        points = torch.cat([pointed[what] for what in range(1 + CUES)])
        return Found(logits, characters, points, linked, named, placed)

    def losses(self, found: Found, batch: Batch) -> Losses:
        """Of the batch; the many empty slots of patches count less than those that hold a character."""
        wanted = (batch.answers, batch.characters, batch.points, batch.links, names(batch), batch.grid)
        return Losses(*self._losses(found, wanted))

    @staticmethod
    def _attention(lengths: Sequence[int], *, causal: bool, device: torch.device) -> partial[Tensor]:
        segments = Segments.of(lengths, lengths, causal=causal, device=device)
        return partial(packed_attention, segments=segments)

    def _point(self, x_TD: Tensor, batch: Batch, what: int) -> Tensor:
        """Scores of the points to answers (0) or to a cue."""
        turns, examples = (
            part.split_with_sizes(batch.pointing)[what] for part in (batch.turns, batch.turn_examples)
        )
        keys = self.keys[what](x_TD.index_select(0, batch.patch_rows))
        scores = (self.queries[what](x_TD.index_select(0, turns)) @ keys.T).float() * POINTER_WIDTH**-0.5
        masked: Tensor = scores.masked_fill(examples[:, None] != batch.patch_examples[None], -torch.inf)
        return masked

    def _link(self, x_PD: Tensor, batch: Batch, what: int) -> Tensor:
        """Scores of the links from values to a cue; those of another page are -inf."""
        values = batch.linked.split_with_sizes(batch.linking)[what]
        keys, queries = self.link_keys[what](x_PD), self.link_queries[what](x_PD.index_select(0, values))
        scores = (queries @ keys.T).float() * POINTER_WIDTH**-0.5
        pages = batch.patch_pages.index_select(0, values)
        masked: Tensor = scores.masked_fill(pages[:, None] != batch.patch_pages[None], -torch.inf)
        return masked


def _turns(grid_P2: Tensor, head_dim: int, theta: float) -> Tensor:
    """The encoder's 2-D RoPE table of patches at (row, column): even frequencies turn with the row."""
    step_P = frequencies(head_dim, theta, torch.float32, grid_P2.device)
    return rotation(torch.cat((grid_P2[:, :1] * step_P[::2], grid_P2[:, 1:] * step_P[1::2]), dim=-1))


def _embed(norm: nn.Module, weight: Tensor, patches_PC: Tensor) -> Tensor:
    """(P, D) of the patches' bytes, whose channels lie behind one another."""
    mean, std = (weight.new_tensor(values).repeat_interleave(weight[0, 0].numel()) for values in (MEAN, STD))
    x_PD: Tensor = norm(F.linear((patches_PC / 255 - mean) / std, weight.flatten(1)).to(weight.dtype))
    return x_PD


def _project(block: TransformerBlock, x_TD: Tensor, turns_T2H: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a block."""
    attention, x_TD = block.attention, block.attention_norm(x_TD)
    heads = (-1, attention.head_dim)
    q_TNH, k_TGH = (
        _rotate(weight(x_TD).unflatten(1, heads), turns_T2H) for weight in (attention.wq, attention.wk)
    )
    return q_TNH, k_TGH, attention.wv(x_TD).unflatten(1, heads)


def _rotate(x_TNH: Tensor, turns_T2H: Tensor) -> Tensor:
    """What `layers.rotate` does, without complex numbers, which the compiler cannot fuse."""
    even_TNH, odd_TNH = x_TNH.to(turns_T2H.dtype).unflatten(-1, (-1, 2)).unbind(-1)
    cos_T1H, sin_T1H = turns_T2H[:, None].unbind(2)
    turned = (even_TNH * cos_T1H - odd_TNH * sin_T1H, even_TNH * sin_T1H + odd_TNH * cos_T1H)
    return torch.stack(turned, dim=-1).flatten(-2).type_as(x_TNH)


def _finish(block: TransformerBlock, x_TD: Tensor, attended_TNH: Tensor) -> Tensor:
    """The rest of a block, after its attention."""
    x_TD = x_TD + block.attention.wo(attended_TNH.flatten(1))
    out_TD: Tensor = x_TD + block.feed_forward(block.ffn_norm(x_TD))
    return out_TD


def names(batch: Batch) -> Tensor:
    """(links, NAME_PATCHES * SLOTS): the characters with which the name of each value begins."""
    last = len(batch.characters) - 1
    patches = [(batch.links + step).clamp(max=last) for step in range(NAME_PATCHES)]
    return torch.cat([batch.characters.index_select(0, patch) for patch in patches], dim=1)


def _reading(characters: Tensor, glyphs: Tensor) -> Tensor:
    """The cross-entropy of slots' characters; empty slots count less than those that hold one."""
    classes = glyphs.long().flatten()
    each = F.cross_entropy(characters.float().flatten(0, 1), classes, reduction="none")
    filled = (classes > 0).float()
    empty = 1 - filled
    full: Tensor = (each * filled).sum() / filled.sum().clamp(min=1)
    return full + 0.3 * (each * empty).sum() / empty.sum().clamp(min=1)


def _losses(
    found: Found, wanted: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    logits, characters, pointed, linked, named, placed = found
    ids, glyphs, points, links, known, grid_P2 = wanted
    answers = F.cross_entropy(logits.float(), ids)
    seen, naming = _reading(characters, glyphs), _reading(named, known)
    pointing = F.cross_entropy(pointed, points, reduction="sum") / max(1, len(points))
    linking = F.cross_entropy(linked, links, reduction="sum") / max(1, len(links))
    places = grid_P2.clamp(max=PLACES - 1).flatten()
    placing = F.cross_entropy(placed.float().flatten(0, 1), places)
    return answers, seen, pointing, linking, naming, placing


class Counts:
    """What an evaluation counts: by kind, first answers that are exactly right and tokens that are.

    And the characters found in patches, the answers pointed at, the values linked to what names them, and the
    characters of those names that they know.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        """Right answers, answers, right tokens, tokens."""
        self.characters = [0, 0]
        self.points = [0, 0]
        self.links = [0, 0]
        self.names = [0, 0]

    def count(self, trainee: Trainee, batch: Batch, eos: int) -> None:
        """Teacher forcing: if every token of an answer is the likeliest, greedy decoding gives that answer.

        It runs with gradients, which it drops: without them a Hopper GPU would want another attention.
        """
        found = trainee(batch)
        wanted = batch.characters.long()
        hit = found.characters.argmax(-1) == wanted
        self._add(self.characters, hit[wanted > 0])
        self._add(self.points, (found.pointed.argmax(-1) == batch.points)[: batch.pointing[0]])
        self._add(self.links, found.linked.argmax(-1) == batch.links)
        known = names(batch)
        self._add(self.names, (found.named.argmax(-1) == known)[known > 0])
        targets = torch.full_like(batch.places, IGNORE).index_copy(0, batch.rows, batch.answers).cpu()
        right = torch.ones_like(batch.places, dtype=torch.bool)
        right = right.index_copy(0, batch.rows, found.answers.argmax(-1) == batch.answers).cpu()
        start = 0
        for kind, length in zip(batch.kinds, batch.lengths, strict=True):
            span = slice(start, start + length)
            first_end = int((targets[span] == eos).nonzero()[0]) + 1
            answer = targets[span][:first_end] != IGNORE
            hits = right[span][:first_end][answer]
            for index, number in enumerate((bool(hits.all()), 1, int(hits.sum()), len(hits))):
                self.kinds[kind][index] += number
            start += length

    @staticmethod
    def _add(counts: list[int], hits: Tensor) -> None:
        counts[0] += int(hits.sum())
        counts[1] += hits.numel()

    def line(self) -> dict[str, str]:
        """Shares, for the log."""
        shares = {kind: f"{n[0] / n[1]:.2f}/{n[1]}" for kind, n in sorted(self.kinds.items())}
        return {
            "characters": _share(self.characters),
            "pointed": _share(self.points),
            "linked": _share(self.links),
            "named": _share(self.names),
            **shares,
        }

    def table(self) -> Iterable[str]:
        """A line for each kind, and one for all of them."""
        yield f"{'':<22} {'exactly right':>16} {'tokens':>8}"
        for kind, (right, asked, tokens, all_tokens) in sorted(self.kinds.items()):
            yield f"{kind:<22} {right:>4} of {asked:>4} {right / asked:4.0%} {tokens / all_tokens:8.1%}"
        total = [sum(n[i] for n in self.kinds.values()) for i in range(4)]
        right, asked, tokens, all_tokens = total
        yield f"{'all':<22} {right:>4} of {asked:>4} {right / asked:4.0%} {tokens / all_tokens:8.1%}"
        yield (
            f"characters found {_share(self.characters)}, answers pointed at {_share(self.points)}, "
            f"values linked {_share(self.links)}, their names {_share(self.names)}"
        )


def _share(counts: list[int]) -> str:
    return f"{counts[0] / max(1, counts[1]):.3f}"
