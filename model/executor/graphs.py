"""Steps as CUDA graphs: recorded once for a few shapes, then replayed with one launch.

In: a packed batch. Out: its logits, or None if there is no graph for it. Steps in which all sequences decode
are replayed; on Hopper, so are all other steps that are so small that the host takes longer to launch them
than the device to compute them. A batch that is smaller than its graph is padded (`graph_inputs`).

Shapes: T tokens, R rows that sample, D width, V vocabulary.
"""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.cache.batch import Batch
from model.cache.plan import Chunk
from model.executor.attention_inputs import StepInputs
from model.executor.fused_decoder import FusedDecoder
from model.executor.graph_inputs import GraphShape, pad
from model.executor.residual import interleave
from model.network.layers import is_capturable
from model.transfer import StaticTensors

# Sizes of decoding steps, in sequences. The host launches a step's 500 kernels in about the time in which a
# GPU decodes 80 sequences of a page; a replay is one launch.
_DECODE_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 224, 256)
_TABLE = 64  # blocks of a graph's smallest table; each other one is twice as large as the next smaller
# Sizes of mixed steps, in tokens. With prompts, a step is some 650 launches. They took 42 ms of a virtual
# machine's host: as long as an H100 takes for 1,100 tokens.
_MIXED_SIZES = tuple(range(128, 2049, 128))
_MIXED_SHORT, _MIXED_KEYS, _MIXED_SEGMENTS = 512, 16384, 16


class DecoderGraphs:
    """The graphs of one decoder, which share their input, their output and their memory."""

    def __init__(self, decoder: FusedDecoder, *, max_num_seqs: int) -> None:
        """For decoding steps of up to `max_num_seqs` sequences; 0: there are no graphs at all.

        None is recorded yet.
        """
        self._decoder = decoder
        self._decode_sizes = [size for size in _DECODE_SIZES if size <= max_num_seqs]
        like = decoder.model.norm.weight
        mixed = bool(self._decode_sizes) and is_capturable(decoder.device, like.dtype)
        self._mixed_sizes = _MIXED_SIZES if mixed else ()
        self._graphs: dict[GraphShape, _Graph] = {}
        rows = max(self._decode_sizes, default=0)
        self._x_TD = like.new_zeros(max(self._mixed_sizes, default=rows), len(like))
        self._logits_RV = like.new_zeros(rows, decoder.model.config.vocab_size)
        self._pool = torch.cuda.graph_pool_handle() if self._decode_sizes else None

    @classmethod
    def record(cls, decoder: FusedDecoder, *, max_num_seqs: int) -> Self:
        """With the graphs that most steps need."""
        graphs = cls(decoder, max_num_seqs=max_num_seqs)
        # The largest comes first: the others use the memory that it takes.
        for size in reversed(graphs._mixed_sizes):
            graphs._graph(graphs._mixed_shape(size, _TABLE))
        for size in reversed(graphs._decode_sizes):
            graphs._graph(_decode_shape(size, _TABLE))
        return graphs

    @classmethod
    def record_largest(cls, decoder: FusedDecoder, *, max_num_seqs: int) -> Self:
        """With the largest graphs alone, which take about as much memory as all."""
        graphs = cls(decoder, max_num_seqs=max_num_seqs)
        blocks = _table_blocks(decoder.model.config.max_position_embeddings // decoder.block_size)
        for size in graphs._mixed_sizes[-1:]:
            graphs._graph(graphs._mixed_shape(size, blocks))
        for size in graphs._decode_sizes[-1:]:
            graphs._graph(_decode_shape(size, blocks))
        return graphs

    def step(self, batch: Batch) -> Tensor | None:
        """Logits (R, V); None if no graph has room for the batch. A shape's first batch records its graph."""
        shape = next(self._shapes(batch), None)
        inputs = None if shape is None else pad(batch, self._decoder.block_size, shape)
        if shape is None or inputs is None:
            return None
        graph = self._graph(shape)
        graph.load(inputs)
        tokens = len(batch.ids_T)
        self._x_TD[:tokens] = self._decoder.embed(graph.inputs.ids_T[:tokens], batch)
        graph.replay()
        # A copy: a step whose jobs are tried one by one replays again before it samples.
        return self._logits_RV[: len(batch.rows_R)].clone()

    def _shapes(self, batch: Batch) -> Iterator[GraphShape]:
        """The shapes of graphs for such batches that have tokens and blocks enough, the smallest first."""
        blocks = _table_blocks(max(len(chunk.table) for chunk in batch.chunks))
        tokens = len(batch.ids_T)
        if all(chunk.samples and chunk.count == 1 for chunk in batch.chunks):
            return (_decode_shape(size, blocks) for size in self._decode_sizes if size >= tokens)
        return (self._mixed_shape(size, blocks) for size in self._mixed_sizes if size >= tokens)

    def _mixed_shape(self, size: int, blocks: int) -> GraphShape:
        return GraphShape(
            tokens=size,
            short=min(size, _MIXED_SHORT),
            rows=min(size, self._decode_sizes[-1]),
            blocks=blocks,
            keys=_MIXED_KEYS,
            segments=_MIXED_SEGMENTS,
        )

    @torch.inference_mode()
    def _graph(self, shape: GraphShape) -> "_Graph":
        graph = self._graphs.get(shape)
        if graph is None:
            token = Chunk(None, 0, 1, (0,), True)
            empty = Batch([token], np.zeros(1, np.int32), np.zeros((0, 2), np.int32), None, ())
            inputs = pad(empty, self._decoder.block_size, shape)
            assert inputs is not None, shape
            inputs.slots_T[:] = -1  # not even into the first block
            x_TD = self._x_TD[: shape.tokens]
            graph = self._graphs[shape] = _Graph(self._decoder, inputs, x_TD, self._logits_RV, self._pool)
        return graph


def _table_blocks(blocks: int) -> int:
    """The blocks of the table that holds so many."""
    return int(_TABLE * 2 ** max(0, (-(-blocks // _TABLE) - 1).bit_length()))


def _decode_shape(size: int, blocks: int) -> GraphShape:
    return GraphShape(tokens=size, short=size, rows=size, blocks=blocks)


class _Graph:
    """A step of one shape, recorded once."""

    def __init__(
        self,
        decoder: FusedDecoder,
        inputs: StepInputs[NDArray[np.int32]],
        x_TD: Tensor,
        logits_RV: Tensor,
        pool: Any,
    ) -> None:
        """A replay reads embedded tokens from `x_TD` and writes logits into `logits_RV`. `pool` is torch's
        handle of the memory that graphs share."""
        self._static = StaticTensors(inputs.arrays(), decoder.device)
        self.inputs = inputs.with_arrays(self._static.tensors)
        decoder.start_step()
        # Compiles the kernels that are not compiled yet: a capture cannot.
        interleave(decoder.forward(x_TD, self.inputs))
        self._graph = torch.cuda.CUDAGraph()
        decoder.start_step()
        # Not "global": NCCL's watchdog, another thread, looks at its events all the time.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            [computed_RV] = interleave(decoder.forward(x_TD, self.inputs))
            logits_RV[: len(computed_RV)] = computed_RV

    def load(self, inputs: StepInputs[NDArray[np.int32]]) -> None:
        """The inputs of the next replay, of the graph's shape."""
        self._static.update(inputs.arrays())

    def replay(self) -> None:
        self._graph.replay()
