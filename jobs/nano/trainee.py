"""The model in training: Pixtral with an auxiliary head, its two losses, and how well it answers.

In: packed batches of synthetic examples. The head says what stands in each patch;
no checkpoint holds it.
"""

from __future__ import annotations

from collections import defaultdict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.nano.synthetic.examples import CLASSES, IGNORE, SLOTS, Batch
from model.config import PixtralConfig
from model.network.pixtral import Pixtral
from model.network.preprocess import MEAN, STD


class Trainee(nn.Module):
    """Pixtral with the auxiliary head on its vision encoder."""

    def __init__(self, config: PixtralConfig) -> None:
        super().__init__()
        self.pixtral = Pixtral(config)
        self.characters = nn.Linear(config.vision.hidden_size, SLOTS * CLASSES)
        depth = config.n_layers + config.vision.num_hidden_layers
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            embedding = "tok_embeddings" in name or "output" in name
            nn.init.normal_(parameter, std=0.02 if embedding else parameter[0].numel() ** -0.5)
            if name.endswith(("wo.weight", "w2.weight")):
                parameter.data.mul_((2 * depth) ** -0.5)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits (answer positions, vocabulary) and (patches, SLOTS, CLASSES)."""
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
        return self.pixtral(x_TD, batch.lengths, rows=rows), found


def losses(logits: Tensor, found: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answers, and of the characters, whose many empty slots count less."""
    answers = F.cross_entropy(logits.float(), batch.targets[batch.targets != IGNORE])
    wanted = batch.characters.long().flatten()
    each = F.cross_entropy(found.float().flatten(0, 1), wanted, reduction="none")
    filled = (wanted > 0).float()
    empty = 1 - filled
    characters = (each * filled).sum() / filled.sum() + 0.3 * (each * empty).sum() / empty.sum()
    return answers, characters


@torch.no_grad()
def evaluate(trainee: Trainee, batch: Batch, eos: int) -> dict[str, str]:
    """Share of first answers that greedy decoding would give exactly, by kind, and of characters found.

    Teacher forcing: if every token of an answer is the likeliest, greedy decoding gives that answer.
    """
    logits, found = trainee(batch)
    wanted = batch.characters.long()
    hit = (found.argmax(-1) == wanted)[wanted > 0].float().mean().item()
    right = torch.full_like(batch.targets, fill_value=True, dtype=torch.bool)
    right[batch.targets != IGNORE] = logits.argmax(-1) == batch.targets[batch.targets != IGNORE]
    exact: dict[str, list[bool]] = defaultdict(list)
    start = 0
    for kind, length in zip(batch.kinds, batch.lengths, strict=True):
        targets = batch.targets[start : start + length]
        first_end = int((targets == eos).nonzero()[0]) + 1
        exact[kind].append(bool(right[start : start + first_end].all()))
        start += length
    shares = {kind: f"{sum(each) / len(each):.2f}/{len(each)}" for kind, each in sorted(exact.items())}
    return {"characters": f"{hit:.3f}", **shares}
