"""The executor of a GPU: fused weights, Triton's kernels and CUDA graphs over the paged cache.

In: a packed batch, whose shorter chunks come first. Out: logits of the rows that sample. A step is computed
in one of three ways, the first that applies: as the replay of a CUDA graph; as two micro-batches, if ranks
share the model and the step is large, so that one's products hide the other's exchanges; or as it is. In both
of the last, ranks can split a large step's residual stream (`residual`). Nothing here waits for the device.

Shapes: R rows that sample, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.cache.batch import Batch, share_out
from model.cache.paged_cache import PagedCache
from model.executor.attention_inputs import pack, send_inputs
from model.executor.fused_decoder import FusedDecoder
from model.executor.fused_layers import FusedModel
from model.executor.graphs import DecoderGraphs
from model.executor.residual import Pausing, interleave
from model.transfer import send


class CudaExecutor:
    """A fused model over one cache."""

    def __init__(
        self,
        fused: FusedModel,
        cache: PagedCache,
        *,
        max_graph_seqs: int,
        overlap: int | None = None,
        split: int | None = None,
    ) -> None:
        """Graphs replay decoding steps of up to `max_graph_seqs` sequences; 0: there are no graphs.

        If ranks share the model, steps of at least `overlap` tokens are two micro-batches, and those of at
        least `split` have their residual stream split among the ranks; None: never.
        """
        self.encode = fused.encode
        self.cache = cache
        self.decoder = FusedDecoder(fused, cache)
        self._graphs = DecoderGraphs.record(self.decoder, max_num_seqs=max_graph_seqs)
        self._overlap = overlap if fused.is_shared else None
        self._split = split if fused.is_shared else None

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        self.cache.copy(pairs)

    def step(self, batch: Batch) -> Tensor:
        """Logits (R, V). The batch's shorter chunks come first."""
        logits_RV = self._graphs.step(batch)
        if logits_RV is not None:
            return logits_RV
        split = self._split is not None and len(batch.ids_T) >= self._split
        if self._overlap is not None and len(batch.ids_T) >= self._overlap and len(batch.chunks) > 1:
            return self._step_in_micro_batches(batch, split)
        self.decoder.start_step(split=split)
        [logits_RV] = interleave(self._forward(batch))
        return logits_RV

    def _step_in_micro_batches(self, batch: Batch, split: bool) -> Tensor:
        halves = share_out([chunk.count for chunk in batch.chunks], 2)
        self.decoder.start_step(overlapped=True, split=split)
        logits = interleave(*(self._forward(batch.part(half)) for half in halves))
        sampling = [index for half in halves for index in half if batch.chunks[index].samples]
        order_R = send(torch.from_numpy(np.argsort(sampling)), self.decoder.device)
        return torch.cat(logits)[order_R]

    def _forward(self, batch: Batch) -> Pausing[Tensor]:
        inputs = send_inputs(pack(batch, self.cache.size), self.decoder.device)
        return self.decoder.forward(self.decoder.embed(inputs.ids_T, batch), inputs)
