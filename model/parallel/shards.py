"""A rank's part of a model that several share: which slices it reads, its vocabulary, its sums.

In: a Pixtral whose decoder layers have been cut, on meta. Out: the slices of the checkpoint that go in, and
the modules at both ends of the decoder, which are cut by tokens of the vocabulary. How the layers are cut is
`parallel`'s decision; what ranks say to one another is `World`'s.

Shapes: T tokens, R rows whose logits are wanted, D width, V vocabulary, U tokens of it that this rank has.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.collectives.world import World


class EmbeddingShard(nn.Module):
    """The rows of an embedding that this rank has."""

    def __init__(self, whole: nn.Embedding, world: World) -> None:
        super().__init__()
        rows = whole.num_embeddings // world.size
        self.first = world.rank * rows
        self.weight = nn.Parameter(whole.weight[:rows], requires_grad=False)

    def forward(self, ids_T: Tensor) -> Tensor:
        """(T, D), zeros for another rank's tokens: the ranks' sum is the embedding."""
        ids_T = ids_T - self.first
        elsewhere_T1 = ((ids_T < 0) | (ids_T >= len(self.weight)))[:, None]
        embedded_TD = F.embedding(ids_T.clamp(0, len(self.weight) - 1), self.weight)
        return embedded_TD.masked_fill_(elsewhere_T1, 0.0)


class OutputShard(nn.Module):
    """The rows of the vocabulary projection that this rank has."""

    def __init__(self, whole: nn.Linear, world: World) -> None:
        super().__init__()
        self._world = world
        self.weight = nn.Parameter(whole.weight[: whole.out_features // world.size], requires_grad=False)

    def forward(self, x_RD: Tensor) -> Tensor:
        """Logits (R, V) of all ranks."""
        part_RU = F.linear(x_RD, self.weight)
        if not len(part_RU):
            return part_RU.new_empty(0, len(self.weight) * self._world.size)
        return torch.cat(self._world.gather(part_RU), dim=1)
