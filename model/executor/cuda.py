"""A GPU's step over the paged cache: a packed batch in, logits of the rows that sample out.

Long chunks go through FlashAttention, over their own keys and values where they begin a sequence, else over
gathered ones; short ones (decoding, questions) through `split_attention`, over the cache as it lies. Steps in
which all decode are replayed as CUDA graphs, of a few sizes, and on Hopper so are all others that are small
enough for the host to take longer than the device; a smaller step fills its size up with tokens of no
sequence. Nothing here waits for the device.

Shapes: T tokens, R rows that sample, D width, N query heads, G key and value heads, H head width, X width of
fused queries, keys and values, S tokens whose keys are gathered, V vocabulary, K tokens that only the device
knows.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.cache.batch import Batch, share_out
from model.cache.paged_cache import CacheLayer, PagedCache
from model.cache.plan import Chunk
from model.collectives.all_reduce import Late, Sums
from model.executor.attention_inputs import Inputs, pack
from model.executor.fused_layers import FusedEncoder, Layer, Pauses, in_turn, normalized
from model.executor.graph_inputs import Room, pad, padded_inputs
from model.kernels.elementwise import gather, quantize, turn, turn_and_store
from model.kernels.split_attention import split_attention
from model.network.layers import is_capturable, packed_attention
from model.network.pixtral import Pixtral
from model.transfer import Slots, send

# Sizes of steps that are replayed. The host launches a step's 500 kernels in about the time in which a GPU
# decodes 80 sequences of a page; a replay is one launch.
GRAPH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 224, 256)
_TABLE_STEP = 64  # blocks by which a graph's table grows
# Tokens of other steps that are replayed. With prompts a step is some 650 launches, which took 42 ms of
# a virtual machine's host: as long as an H100 takes for 1,100 tokens.
_MIXED_SIZES = tuple(range(128, 2049, 128))
_MIXED_SHORT, _MIXED_KEYS, _MIXED_SEGMENTS = 512, 16384, 16


class FusedModel:
    """A model whose weights are fused for a GPU; `over` a cache it computes batches."""

    def __init__(
        self,
        model: Pixtral,
        *,
        fp8: bool,
        replayed: int,
        sums: Sums | None = None,
        halved: int | None = None,
    ) -> None:
        """Steps of up to `replayed` sequences that decode are replayed as graphs; others from `halved` tokens
        on are computed in halves, if the model is shared out, whose ranks' `sums` these are."""
        self.model = model
        self.sums = sums
        self.halved = None if sums is None else halved
        self.encode = FusedEncoder(model, fp8=fp8)
        self.layers = [
            Layer.of(block, fp8=fp8, sums=sums)  # type: ignore[arg-type]  # a ModuleList of them
            for block in model.layers
        ]
        self.graph_sizes = [size for size in GRAPH_SIZES if size <= replayed]
        if model.norm.weight.is_cuda:
            torch.cuda.empty_cache()  # what is left of the separate weights shall be free for the cache

    def over(self, cache: PagedCache) -> "CudaExecutor":
        return CudaExecutor(self, cache)


class CudaExecutor:
    """Encoder and decoder of a fused model, over one cache."""

    def __init__(self, network: FusedModel, cache: PagedCache) -> None:
        self.encode = network.encode
        self.cache = cache
        self._model = network.model
        self._size = cache.size
        self._layers = network.layers
        self._cache = [cache.layer(index) for index in range(len(self._layers))]
        self.device = cache.k_LCSGH.device
        self._sums = network.sums
        self._halved = network.halved
        self._decode_sizes = network.graph_sizes
        like = network.model.norm.weight
        mixed = bool(self._decode_sizes) and is_capturable(self.device, like.dtype)
        self._mixed_sizes = _MIXED_SIZES if mixed else ()
        self._graphs: dict[Room, _Graph] = {}
        # What graphs read and write, one at a time.
        rows = max(self._decode_sizes, default=0)
        self.x_TD = like.new_zeros(max(self._mixed_sizes, default=rows), len(like))
        self.logits_RV = like.new_zeros(rows, network.model.config.vocab_size)
        self.pool = torch.cuda.graph_pool_handle() if self._decode_sizes else None
        # The largest takes the memory that the others use too.
        for size in reversed(self._mixed_sizes):
            self._graph(self._mixed_room(size, _TABLE_STEP))
        for size in reversed(self._decode_sizes):
            self._graph(_decode_room(size, _TABLE_STEP))

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        self.cache.copy(pairs)

    def step(self, batch: Batch) -> Tensor:
        """Logits (R, V). The batch's shorter chunks come first."""
        room = self._room(batch)
        arrays = None if room is None else pad(batch, self._size, room)
        if room is not None and arrays is not None:
            return self._replay(batch, room, arrays)
        if self._halved is not None and len(batch.ids_T) >= self._halved and len(batch.chunks) > 1:
            return self._step_in_halves(batch)
        self.restart()
        [logits_RV] = in_turn(self._forward(batch))
        return logits_RV

    def _step_in_halves(self, batch: Batch) -> Tensor:
        """Each half is computed while the ranks sum up the other's partial products."""
        halves = share_out([chunk.count for chunk in batch.chunks], 2)
        self.restart(hidden=True)
        logits = in_turn(*(self._forward(batch.part(half)) for half in halves))
        sampling = [index for half in halves for index in half if batch.chunks[index].samples]
        order_R = send(torch.from_numpy(np.argsort(sampling)), self.device)
        return torch.cat(logits)[order_R]

    def restart(self, *, hidden: bool = False) -> None:
        """A step begins, whose sums are `hidden` behind its other half or not."""
        if self._sums is not None:
            self._sums.restart(hidden=hidden)

    def _forward(self, batch: Batch) -> Pauses[Tensor]:
        inputs = pack(batch, self._size, self.device)
        return self.forward(self._embed(inputs.ids_T, batch), inputs)

    def _room(self, batch: Batch) -> Room | None:
        """Of the graph for such batches, if there is one."""
        blocks = -(-max(len(chunk.table) for chunk in batch.chunks) // _TABLE_STEP) * _TABLE_STEP
        tokens = len(batch.ids_T)
        if all(chunk.samples and chunk.count == 1 for chunk in batch.chunks):
            sizes = (size for size in self._decode_sizes if size >= tokens)
            return next((_decode_room(size, blocks) for size in sizes), None)
        sizes = (size for size in self._mixed_sizes if size >= tokens)
        return next((self._mixed_room(size, blocks) for size in sizes), None)

    def _mixed_room(self, size: int, blocks: int) -> Room:
        return Room(
            tokens=size,
            short=min(size, _MIXED_SHORT),
            rows=min(size, self._decode_sizes[-1]),
            blocks=blocks,
            keys=_MIXED_KEYS,
            segments=_MIXED_SEGMENTS,
        )

    def _embed(self, ids_T: Tensor, batch: Batch) -> Tensor:
        """(T, D): embeddings, of what the step before has sampled too, and patches in their places."""
        if len(batch.unknown_K2):
            assert batch.sampled_before is not None, batch.unknown_K2
            unknown_K2 = send(torch.from_numpy(batch.unknown_K2).long(), self.device)
            ids_T[unknown_K2[:, 0]] = batch.sampled_before[unknown_K2[:, 1]].to(ids_T.dtype)
        return self._model.embed_packed(ids_T, batch.patches)

    def forward(self, x_TD: Tensor, inputs: Inputs) -> Pauses[Tensor]:
        """Logits (R, V) of embedded tokens, in whose place the layers compute."""
        model = self._model
        rotation_T2P = model.rotation(inputs.positions_T, x_TD)
        late: Late = ()
        for layer, cache in zip(self._layers[:-1], self._cache[:-1], strict=True):

            def attend(qkv_TX: Tensor, layer: Layer = layer, cache: CacheLayer = cache) -> Tensor:
                turn_and_store(qkv_TX, rotation_T2P, inputs.slots_T, cache, layer.queries)
                return self._attend(qkv_TX, layer, cache, inputs)

            late = yield from layer(x_TD, late, attend)
        x_RD, late = yield from self._last_layer(x_TD, late, rotation_T2P, inputs)
        logits_RV: Tensor = model.output(normalized(model.norm, x_RD, late))
        return logits_RV

    def _last_layer(
        self, x_TD: Tensor, late: Late, rotation_T2P: Tensor, inputs: Inputs
    ) -> Pauses[tuple[Tensor, Late]]:
        """Keys and values of all tokens, the rest of the rows that sample."""
        layer, cache = self._layers[-1], self._cache[-1]
        queries = layer.queries * layer.width
        fp8 = layer.wqkv.fp8
        h_TD = normalized(layer.attention_norm, x_TD, late, fp8)
        kv_TX = layer.wqkv(h_TD, slice(queries, None))
        turn_and_store(kv_TX, rotation_T2P, inputs.slots_T, cache, 0)
        if inputs.rows_R is None:
            x_RD, rotation_R2P = x_TD, rotation_T2P
        else:
            x_RD, h_TD, rotation_R2P = x_TD[inputs.rows_R], h_TD[inputs.rows_R], rotation_T2P[inputs.rows_R]
        if inputs.last is None:
            return x_RD, ()
        q_RX = layer.wqkv(h_TD, slice(queries))
        turn(q_RX, rotation_R2P, layer.queries)
        out_RNH = torch.zeros_like(q_RX).unflatten(1, (layer.queries, layer.width))
        split_attention(q_RX.unflatten(1, (layer.queries, -1)), cache, inputs.last, self._size, out_RNH)
        out_RX = out_RNH.flatten(1)
        late = yield from layer.wo.onto(x_RD, quantize(out_RX) if fp8 else out_RX)
        return x_RD, (yield from layer.feed(x_RD, late))

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

    def _replay(self, batch: Batch, room: Room, arrays: Sequence[NDArray[np.int32]]) -> Tensor:
        """The step through the graph of its room, captured at its first use."""
        graph = self._graph(room)
        graph.slots.update(arrays)
        tokens = len(batch.ids_T)
        self.x_TD[:tokens] = self._embed(graph.slots.tensors[0][:tokens], batch)
        graph.replay()
        # A copy: a step whose jobs are tried one by one replays before it samples.
        return self.logits_RV[: len(batch.rows_R)].clone()

    @torch.inference_mode()
    def _graph(self, room: Room) -> "_Graph":
        graph = self._graphs.get(room)
        if graph is None:
            token = Chunk(None, 0, 1, (0,), True)
            empty = Batch([token], np.zeros(1, np.int32), np.zeros((0, 2), np.int32), None, ())
            arrays = pad(empty, self._size, room)
            assert arrays is not None, room
            arrays[2][:] = -1  # not even into the first block
            graph = self._graphs[room] = _Graph(self, arrays, room)
        return graph


def _decode_room(size: int, blocks: int) -> Room:
    return Room(tokens=size, short=size, rows=size, blocks=blocks)


class _Graph:
    """A step of one size, recorded once."""

    def __init__(self, decoder: CudaExecutor, arrays: Sequence[NDArray[np.int32]], room: Room) -> None:
        self.slots = Slots(arrays, decoder.device)
        inputs = padded_inputs(self.slots, room)
        x_TD = decoder.x_TD[: room.tokens]
        decoder.restart()
        in_turn(decoder.forward(x_TD, inputs))  # compiles what has yet to be compiled, which a capture cannot
        self._graph = torch.cuda.CUDAGraph()
        decoder.restart()
        # Not "global": NCCL's watchdog, another thread, looks at its events all the time.
        with torch.cuda.graph(self._graph, pool=decoder.pool, capture_error_mode="thread_local"):
            [logits_RV] = in_turn(decoder.forward(x_TD, inputs))
            decoder.logits_RV[: len(logits_RV)] = logits_RV

    def replay(self) -> None:
        """Computes the logits of what `x_TD` and the slots hold."""
        self._graph.replay()
