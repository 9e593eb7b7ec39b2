"""The executor in plain torch: it computes on CPUs and on GPUs, and a GPU's own is tested against it.

Shapes: T tokens, R rows that sample, P patches, D width, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.cache.batch import Batch
from model.cache.paged_cache import PagedCache
from model.network.paged_attention import PagedAttention
from model.network.pixtral import Pixtral
from model.transfer import send


class EagerExecutor:
    """The model, whole or one rank's shard, over its cache."""

    def __init__(self, model: Pixtral, cache: PagedCache) -> None:
        self.cache = cache
        self._model = model

    def encode(self, images: Sequence[Tensor]) -> Tensor:
        return self._model.encode_images(images)

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        self.cache.copy(pairs)

    def step(self, batch: Batch) -> Tensor:
        device = self.cache.k_LCSGH.device
        ids_T = send(torch.from_numpy(batch.ids_T).long(), device)
        if len(batch.unknown_K2):
            assert batch.sampled_before is not None, batch.unknown_K2
            unknown_K2 = send(torch.from_numpy(batch.unknown_K2).long(), device)
            ids_T[unknown_K2[:, 0]] = batch.sampled_before[unknown_K2[:, 1]]
        x_TD = self._model.embed_packed(ids_T, batch.patches)
        attention = PagedAttention(self.cache, batch)
        positions_T = send(torch.from_numpy(batch.positions_T), device)
        return self._model.step(x_TD, positions_T, attention, attention.rows_R)
