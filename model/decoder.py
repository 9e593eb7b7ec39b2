"""A GPU's step over the paged cache: a packed batch in, logits of the rows that sample out.

Long chunks go through FlashAttention, over their own keys and values where they begin a sequence, else over
gathered ones; short ones (decoding, questions) through `split_attention`, over the cache as it lies. Steps in
which all decode are replayed as CUDA graphs, of a few sizes; a smaller step fills its size up with tokens of
no sequence. Nothing here waits for the device.

Shapes: T tokens, R rows that sample, D width, N query heads, G key and value heads, H head width, X width of
fused queries, keys and values, S tokens whose keys are gathered, V vocabulary, K tokens that only the device
knows.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batch import Batch
from model.elementwise import gather, quantize, turn, turn_and_store
from model.fused import FusedEncoder, Layer, normalized
from model.inputs import Inputs, pack, pad, padded_inputs
from model.layers import packed_attention
from model.paged import CacheLayer, PagedCache
from model.pixtral import Pixtral
from model.plan import Chunk
from model.split_attention import split_attention
from model.upload import Slots, send

# Sizes of steps that are replayed. The host launches a step's 500 kernels in about the time in which a GPU
# decodes 80 sequences of a page; a replay is one launch.
GRAPH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 224, 256)
_TABLE_STEP = 64  # blocks by which a graph's table grows


class FusedNetwork:
    """A model whose weights are fused for a GPU; `over` a cache it computes batches."""

    def __init__(self, model: Pixtral, *, fp8: bool, replayed: int) -> None:
        """Steps of up to `replayed` sequences that decode are replayed as graphs."""
        self.model = model
        self.encode = FusedEncoder(model)
        self.layers = [Layer.of(block, fp8=fp8) for block in model.layers]  # type: ignore[arg-type]  # a ModuleList of them
        self.graph_sizes = [size for size in GRAPH_SIZES if size <= replayed]
        if model.norm.weight.is_cuda:
            torch.cuda.empty_cache()  # what is left of the separate weights shall be free for the cache

    def over(self, cache: PagedCache) -> "FusedDecoder":
        return FusedDecoder(self, cache)


class FusedDecoder:
    """Encoder and decoder of a fused model, over one cache."""

    def __init__(self, network: FusedNetwork, cache: PagedCache) -> None:
        self.encode = network.encode
        self._model = network.model
        self._size = cache.k_LCSGH.shape[2]
        self._layers = network.layers
        self._cache = [cache.layer(index) for index in range(len(self._layers))]
        self.device = cache.k_LCSGH.device
        self._graph_sizes = network.graph_sizes
        self._graphs: dict[tuple[int, int], _Graph] = {}
        self.pool = torch.cuda.graph_pool_handle() if self._graph_sizes else None
        for size in reversed(self._graph_sizes):  # the largest takes the memory that the others use too
            self._graph(size, _TABLE_STEP)

    def step(self, batch: Batch) -> Tensor:
        """Logits (R, V). The batch's shorter chunks come first."""
        size = next((size for size in self._graph_sizes if size >= len(batch.chunks)), None)
        if size is not None and all(chunk.samples and chunk.count == 1 for chunk in batch.chunks):
            logits_RV = self._replay(batch, size)
            if logits_RV is not None:
                return logits_RV
        inputs = pack(batch, self._size, self.device)
        self._fill_in(inputs.ids_T, batch)
        return self.forward(inputs, batch)

    def _fill_in(self, ids_T: Tensor, batch: Batch) -> None:
        """The tokens that the step before has sampled."""
        if len(batch.unknown_K2):
            assert batch.sampled_before is not None, batch.unknown_K2
            unknown_K2 = send(torch.from_numpy(batch.unknown_K2).long(), self.device)
            ids_T[unknown_K2[:, 0]] = batch.sampled_before[unknown_K2[:, 1]].to(ids_T.dtype)

    def forward(self, inputs: Inputs, batch: Batch | None) -> Tensor:
        """The network; without a batch nothing is read but the inputs, as in a graph."""
        model = self._model
        x_TD: Tensor = model.tok_embeddings(inputs.ids_T)
        for positions, features_PD in batch.patches if batch else ():
            x_TD.index_copy_(0, send(torch.from_numpy(positions), self.device), features_PD.to(x_TD.dtype))
        rotation_T2P = model.rotation(inputs.positions_T, x_TD)
        late_TD: Tensor | None = None
        for layer, cache in zip(self._layers[:-1], self._cache[:-1], strict=True):

            def attend(qkv_TX: Tensor, layer: Layer = layer, cache: CacheLayer = cache) -> Tensor:
                turn_and_store(qkv_TX, rotation_T2P, inputs.slots_T, cache, layer.queries)
                return self._attend(qkv_TX, layer, cache, inputs)

            late_TD = layer(x_TD, late_TD, attend)
        x_RD, late_RD = self._last_layer(x_TD, late_TD, rotation_T2P, inputs)
        logits_RV: Tensor = model.output(normalized(model.norm, x_RD, late_RD))
        return logits_RV

    def _last_layer(
        self, x_TD: Tensor, late_TD: Tensor | None, rotation_T2P: Tensor, inputs: Inputs
    ) -> tuple[Tensor, Tensor | None]:
        """Keys and values of all tokens, the rest of the rows that sample."""
        layer, cache = self._layers[-1], self._cache[-1]
        queries = layer.queries * layer.width
        fp8 = layer.wqkv.fp8
        h_TD = normalized(layer.attention_norm, x_TD, late_TD, fp8)
        kv_TX = layer.wqkv(h_TD, slice(queries, None))
        turn_and_store(kv_TX, rotation_T2P, inputs.slots_T, cache, 0)
        if inputs.rows_R is None:
            x_RD, rotation_R2P = x_TD, rotation_T2P
        else:
            x_RD, h_TD, rotation_R2P = x_TD[inputs.rows_R], h_TD[inputs.rows_R], rotation_T2P[inputs.rows_R]
        if inputs.last is None:
            return x_RD, None
        q_RX = layer.wqkv(h_TD, slice(queries))
        turn(q_RX, rotation_R2P, layer.queries)
        out_RNH = torch.zeros_like(q_RX).unflatten(1, (layer.queries, layer.width))
        split_attention(q_RX.unflatten(1, (layer.queries, -1)), cache, inputs.last, self._size, out_RNH)
        late_RD = layer.wo.onto(x_RD, quantize(out_RNH.flatten(1)) if fp8 else out_RNH.flatten(1))
        return x_RD, layer.feed(x_RD, late_RD)

    def _attend(self, qkv_TX: Tensor, layer: Layer, cache: CacheLayer, inputs: Inputs) -> Tensor:
        heads = (layer.queries, layer.groups, layer.groups)
        q_TNH, k_TGH, v_TGH = qkv_TX.unflatten(1, (-1, layer.width)).split(heads, dim=1)
        if inputs.long is not None:
            if inputs.long.slots_S is None:
                k_SGH, v_SGH = k_TGH[inputs.short_tokens :], v_TGH[inputs.short_tokens :]
            else:
                k_SGH, v_SGH = gather(cache, inputs.long.slots_S, qkv_TX.dtype)
            out_TNH = packed_attention(q_TNH, k_SGH, v_SGH, inputs.long.segments)
        else:
            out_TNH = q_TNH.new_zeros(q_TNH.shape)  # a graph has tokens of no sequence
        if inputs.short is not None:
            short = slice(inputs.short_tokens)
            split_attention(q_TNH[short], cache, inputs.short, self._size, out_TNH[short])
        return out_TNH.flatten(1)

    def _replay(self, batch: Batch, size: int) -> Tensor | None:
        """A decode step through the graph of its size, captured at its first use; None if it does not fit."""
        blocks = -(-max(len(chunk.table) for chunk in batch.chunks) // _TABLE_STEP) * _TABLE_STEP
        arrays = pad(batch, self._size, size, blocks)
        if arrays is None:
            return None
        graph = self._graph(size, blocks)
        graph.slots.update(arrays)
        self._fill_in(graph.slots.tensors[0], batch)
        # A copy: a step whose jobs are tried one by one replays before it samples.
        return graph.replay()[: len(batch.chunks)].clone()

    @torch.inference_mode()
    def _graph(self, size: int, blocks: int) -> "_Graph":
        graph = self._graphs.get((size, blocks))
        if graph is None:
            token = Chunk(None, 0, 1, (0,), True)
            empty = Batch([token], np.zeros(1, np.int32), np.zeros((0, 2), np.int32), None, ())
            arrays = pad(empty, self._size, size, blocks)
            assert arrays is not None, (size, blocks)
            arrays[2][:] = -1  # not even into the first block
            graph = self._graphs[size, blocks] = _Graph(self, arrays, blocks)
        return graph


class _Graph:
    """A decode step of one size, recorded once."""

    def __init__(self, decoder: FusedDecoder, arrays: Sequence[NDArray[np.int32]], blocks: int) -> None:
        self.slots = Slots(arrays, decoder.device)
        inputs = padded_inputs(self.slots, blocks)
        decoder.forward(inputs, None)  # compiles what has yet to be compiled, which a capture cannot
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=decoder.pool):
            self._logits_RV = decoder.forward(inputs, None)

    def replay(self) -> Tensor:
        """The logits, which the next replay overwrites."""
        self._graph.replay()
        return self._logits_RV
