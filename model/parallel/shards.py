"""The two ends of a decoder that ranks share: embedding and output projection, cut by vocabulary.

In: the whole modules, on the meta device. Out: modules with this rank's rows, and no memory yet. How the
layers between them are cut is decided in `tensor_parallel`; how ranks exchange tensors, in `World`.

Shapes: T tokens, R rows whose logits are wanted, D width, V vocabulary, U tokens of it that this rank has.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.collectives.world import World


class EmbeddingShard(nn.Module):
    """This rank's rows of the embedding."""

    def __init__(self, whole: nn.Embedding, world: World) -> None:
        super().__init__()
        rows = whole.num_embeddings // world.size
        self.first = world.rank * rows
        self.weight = nn.Parameter(whole.weight[:rows], requires_grad=False)

    def forward(self, ids_T: Tensor) -> Tensor:
        """(T, D), with zeros for tokens of other ranks: the sum over all ranks is the embedding."""
        ids_T = ids_T - self.first
        elsewhere_T1 = ((ids_T < 0) | (ids_T >= len(self.weight)))[:, None]
        embedded_TD = F.embedding(ids_T.clamp(0, len(self.weight) - 1), self.weight)
        return embedded_TD.masked_fill_(elsewhere_T1, 0.0)


class OutputShard(nn.Module):
    """This rank's rows of the output projection."""

    def __init__(self, whole: nn.Linear, world: World) -> None:
        super().__init__()
        self._world = world
        self.weight = nn.Parameter(whole.weight[: whole.out_features // world.size], requires_grad=False)

    def forward(self, x_RD: Tensor) -> Tensor:
        """Logits (R, V) over the whole vocabulary, on every rank."""
        part_RU = F.linear(x_RD, self.weight)
        if not len(part_RU):
            return part_RU.new_empty(0, len(self.weight) * self._world.size)
        return torch.cat(self._world.all_gather(part_RU), dim=1)
