"""The model in training: Pixtral with two auxiliary heads, its three losses, and how well it answers.

In: packed batches of synthetic examples. One head says what stands in each patch; the other points, in the
middle of the decoder, from the end of a question to the patch in which its answer begins. No checkpoint holds
them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.nano.synthetic.examples import CLASSES, IGNORE, SLOTS, Batch
from model.config import PixtralConfig
from model.network.pixtral import Pixtral
from model.network.preprocess import MEAN, STD

POINTER_WIDTH = 64


class Found(NamedTuple):
    """What a batch gave: logits (answer positions, vocabulary) and (patches, SLOTS, CLASSES), and, for each
    example with points, the scores (points, patches of the example)."""

    answers: Tensor
    characters: Tensor
    pointed: list[Tensor]


class Losses(NamedTuple):
    """Cross-entropies: of answers, of characters, of pointing."""

    answers: Tensor
    characters: Tensor
    pointing: Tensor

    def weighed(self) -> Tensor:
        return self.answers + self.characters + POINTING_WEIGHT * self.pointing


POINTING_WEIGHT = 0.15


class Trainee(nn.Module):
    """Pixtral with an auxiliary head on its vision encoder and one in the middle of its decoder."""

    def __init__(self, config: PixtralConfig) -> None:
        super().__init__()
        self.pixtral = Pixtral(config)
        self.characters = nn.Linear(config.vision.hidden_size, SLOTS * CLASSES)
        self.query = nn.Linear(config.dim, POINTER_WIDTH, bias=False)
        self.key = nn.Linear(config.dim, POINTER_WIDTH, bias=False)
        depth = config.n_layers + config.vision.num_hidden_layers
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            embedding = "tok_embeddings" in name or "output" in name
            nn.init.normal_(parameter, std=0.02 if embedding else parameter[0].numel() ** -0.5)
            if name.endswith(("wo.weight", "w2.weight")):
                parameter.data.mul_((2 * depth) ** -0.5)
        self._middle: list[Tensor] = []
        """The decoder's states after half of its blocks, of the batch under way."""
        half = self.pixtral.layers[(config.n_layers - 1) // 2]
        half.register_forward_hook(lambda _module, _given, states_TD: self._middle.append(states_TD))

    def forward(self, batch: Batch) -> Found:
        mean, std = (batch.pixels.new_tensor(values, dtype=torch.float32) for values in (MEAN, STD))
        pixels = ((batch.pixels.view(-1, 3) / 255 - mean) / std).view(-1)
        images, start = [], 0
        for height, width in batch.sizes:
            end = start + height * width * 3
            images.append(pixels[start:end].view(height, width, 3).permute(2, 0, 1))
            start = end
        patches_PD = self.pixtral.vision_encoder(images)
        found = self.characters(patches_PD).view(-1, SLOTS, CLASSES)
        x_TD = self.pixtral.embed(batch.ids, self.pixtral.vision_language_adapter(patches_PD))
        rows = (batch.targets != IGNORE).nonzero()[:, 0]
        logits = self.pixtral(x_TD, batch.lengths, rows=rows)
        return Found(logits, found, self._point(self._middle.pop(), batch))

    def _point(self, middle_TD: Tensor, batch: Batch) -> list[Tensor]:
        is_patch_T = batch.ids == self.pixtral.config.vision.image_token_id
        keys = self.key(middle_TD[is_patch_T]).split_with_sizes(batch.patches)
        queries = self.query(middle_TD[batch.points[:, 0]]).split_with_sizes(batch.pointing)
        scale = POINTER_WIDTH**-0.5
        return [query @ key.T * scale for query, key in zip(queries, keys, strict=True) if len(query)]


def losses(found: Found, batch: Batch) -> Losses:
    """Of the batch; the many empty slots of patches count less than those that hold a character."""
    answers = F.cross_entropy(found.answers.float(), batch.targets[batch.targets != IGNORE])
    wanted = batch.characters.long().flatten()
    each = F.cross_entropy(found.characters.float().flatten(0, 1), wanted, reduction="none")
    filled = (wanted > 0).float()
    empty = 1 - filled
    characters = (each * filled).sum() / filled.sum().clamp(min=1) + 0.3 * (each * empty).sum() / empty.sum()
    pointing = answers.new_zeros(())
    for scores, patches in zip(found.pointed, _wanted(batch), strict=True):
        pointing = pointing + F.cross_entropy(scores.float(), patches, reduction="sum")
    return Losses(answers, characters, pointing / max(1, len(batch.points)))


def _wanted(batch: Batch) -> list[Tensor]:
    """The patches to point to, of each example that has points."""
    return [part for part in batch.points[:, 1].split_with_sizes(batch.pointing) if len(part)]


class Counts:
    """What an evaluation counts: by kind, first answers that are exactly right and tokens that are.

    And the characters found in patches, and the answers pointed at.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        """Right answers, answers, right tokens, tokens."""
        self.characters = [0, 0]
        self.points = [0, 0]

    def count(self, trainee: Trainee, batch: Batch, eos: int) -> None:
        """Teacher forcing: if every token of an answer is the likeliest, greedy decoding gives that answer.

        It runs with gradients, which it drops: without them a Hopper GPU would want another attention.
        """
        found = trainee(batch)
        wanted = batch.characters.long()
        hit = found.characters.argmax(-1) == wanted
        self._add(self.characters, hit[wanted > 0])
        for scores, patches in zip(found.pointed, _wanted(batch), strict=True):
            self._add(self.points, scores.argmax(-1) == patches)
        right = torch.full_like(batch.targets, fill_value=True, dtype=torch.bool)
        right[batch.targets != IGNORE] = found.answers.argmax(-1) == batch.targets[batch.targets != IGNORE]
        right, targets = right.cpu(), batch.targets.cpu()
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
        return {"characters": _share(self.characters), "pointed": _share(self.points), **shares}

    def table(self) -> Iterable[str]:
        """A line for each kind, and one for all of them."""
        yield f"{'':<22} {'exactly right':>16} {'tokens':>8}"
        for kind, (right, asked, tokens, all_tokens) in sorted(self.kinds.items()):
            yield f"{kind:<22} {right:>4} of {asked:>4} {right / asked:4.0%} {tokens / all_tokens:8.1%}"
        total = [sum(n[i] for n in self.kinds.values()) for i in range(4)]
        right, asked, tokens, all_tokens = total
        yield f"{'all':<22} {right:>4} of {asked:>4} {right / asked:4.0%} {tokens / all_tokens:8.1%}"
        yield f"characters found {_share(self.characters)}, answers pointed at {_share(self.points)}"


def _share(counts: list[int]) -> str:
    return f"{counts[0] / max(1, counts[1]):.3f}"
