"""A step that is padded to the shape of a graph is the same step."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")

from model.cache.batch import Batch
from model.cache.paged_cache import CacheLayer, PagedCache
from model.cache.plan import Chunk
from model.executor import attention_inputs, fused_decoder, graph_inputs
from model.executor.cuda import CudaExecutor
from model.executor.eager import EagerExecutor
from model.executor.fused_layers import FusedModel
from model.executor.graph_inputs import GraphShape, pad
from model.executor.residual import interleave
from model.kernels import elementwise
from model.network.pixtral import Pixtral
from model.transfer import StaticTensors
from tests.model.executor.fused import DEVICE, SIZE, make_model


def decoding(counts: Sequence[int]) -> Batch:
    """Sequences of so many tokens, each in blocks of its own, that decode."""
    first = np.cumsum([0, *(-(-count // SIZE) for count in counts)])
    chunks = [
        Chunk(row, count - 1, 1, tuple(range(first[row], first[row + 1])), True)
        for row, count in enumerate(counts)
    ]
    ids = np.arange(20, 20 + len(counts), dtype=np.int32)
    return Batch(chunks, ids, np.zeros((0, 2), np.int32), None, ())


def noisy_cache(model: Pixtral, blocks: int) -> PagedCache:
    cache = PagedCache(
        layers=len(model.layers), blocks=blocks, size=SIZE, heads=2, width=16, like=model.norm.weight
    )
    noise = torch.randn(cache.k_LCSGH.shape, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    cache.k_LCSGH.copy_(noise)
    cache.v_LCSGH.copy_(noise.flip(0))
    return cache


def replayed(fused: CudaExecutor, batch: Batch, shape: GraphShape) -> Tensor:
    """What a graph of this shape would compute."""
    arrays = pad(batch, SIZE, shape)
    assert arrays is not None
    inputs = arrays.with_arrays(StaticTensors(arrays.arrays(), DEVICE).tensors)
    if inputs.long is not None:
        # Plain attention has to know the lengths on the host; the padding is a sequence of its own.
        starts_q, starts_k = inputs.long.starts_q.tolist(), inputs.long.starts_k.tolist()
        lengths_q = [*np.diff(starts_q).tolist(), shape.tokens - starts_q[-1]]
        lengths_k = [*np.diff(starts_k).tolist(), shape.keys - starts_k[-1]]
        long = replace(
            inputs.long, lengths_q=tuple(lengths_q), lengths_k=tuple(lengths_k), skipped=starts_q[0]
        )
        inputs = replace(inputs, long=long)
    tokens = len(batch.ids_T)
    embedded_TD = fused.decoder.embed(inputs.ids_T[:tokens], batch)
    x_TD = torch.cat([embedded_TD, embedded_TD.new_zeros(shape.tokens - tokens, embedded_TD.shape[1])])
    [logits_RV] = interleave(fused.decoder.forward(x_TD, inputs))
    return logits_RV[: len(batch.rows_R)]


@torch.inference_mode()
def test_a_step_filled_up_to_a_graphs_size_is_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a graph is captured from: tokens of no sequence change nothing and write nowhere."""
    monkeypatch.setattr(graph_inputs, "ITEMS", 8)
    model, batch = make_model(), decoding([9, 5, 14])
    cache = noisy_cache(model, 12)
    plain = EagerExecutor(model, cache).step(batch) if DEVICE.type == "cpu" else None
    fused = CudaExecutor(FusedModel(model, fp8=False), cache, max_graph_seqs=0)
    eager = fused.step(batch)
    before = cache.k_LCSGH.clone()
    filled = replayed(fused, batch, GraphShape(tokens=8, short=8, rows=8, blocks=16))
    torch.testing.assert_close(filled, eager)
    torch.testing.assert_close(cache.k_LCSGH, before)
    if plain is not None:
        torch.testing.assert_close(eager, plain, rtol=1e-4, atol=1e-4)


MIXES = {
    "decode, question, prompts": [(9, 1, True), (4, 3, True), (6, 8, False), (0, 7, True)],
    "decode, question": [(9, 1, True), (4, 3, False)],
    "prompts alone": [(0, 6, False), (5, 9, False)],
}


@torch.inference_mode()
@pytest.mark.parametrize("mix", MIXES)
def test_a_mixed_step_filled_up_is_the_same_step(mix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_inputs, "SHORT", 4)
    monkeypatch.setattr(graph_inputs, "ITEMS", 8)  # an interpreted kernel takes its time for empty items too

    def without_noise(layer: CacheLayer, slots_S: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Without what memory held where nothing is gathered: plain attention would compute with it."""
        k_SGH, v_SGH = elementwise.gather_kv(layer, slots_S, dtype)
        nothing_S11 = (slots_S < 0)[:, None, None]
        return k_SGH.masked_fill(nothing_S11, 0.0), v_SGH.masked_fill(nothing_S11, 0.0)

    monkeypatch.setattr(fused_decoder, "gather_kv", without_noise)
    model = make_model()
    chunks, taken = [], 0
    for start, count, samples in MIXES[mix]:
        blocks = -(-(start + count) // SIZE)
        chunks.append(Chunk(taken, start, count, tuple(range(taken, taken + blocks)), samples))
        taken += blocks
    ids = np.arange(20, 20 + sum(chunk.count for chunk in chunks), dtype=np.int32)
    patches = [(np.array([1, 2]), torch.ones(2, len(model.norm.weight), device=DEVICE))]
    batch = Batch(chunks, ids, np.zeros((0, 2), np.int32), None, patches)
    cache = noisy_cache(model, taken + 2)
    fused = CudaExecutor(FusedModel(model, fp8=False), cache, max_graph_seqs=0)
    eager = fused.step(batch)
    written = cache.k_LCSGH.clone()
    cache.k_LCSGH.copy_(noisy_cache(model, taken + 2).k_LCSGH)
    filled = replayed(fused, batch, GraphShape(tokens=32, short=8, rows=4, blocks=16, keys=64, segments=3))
    torch.testing.assert_close(filled, eager, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cache.k_LCSGH, written)


def test_what_is_too_large_fits_no_graph() -> None:
    """256 sequences, each of which leaves the common beginning four blocks after the one before it, are too
    many work items; and each of the other bounds."""
    depths = [4 * min(row, 100) for row in range(256)]
    chunks = [
        Chunk(row, 64 * depth + 3, 1, (*range(depth), 1000 + row), True) for row, depth in enumerate(depths)
    ]
    batch = Batch(chunks, np.zeros(256, np.int32), np.zeros((0, 2), np.int32), None, ())
    assert pad(batch, 64, GraphShape(tokens=256, short=256, rows=256, blocks=512)) is None
    few = Batch(chunks[:16], np.zeros(16, np.int32), np.zeros((0, 2), np.int32), None, ())
    assert pad(few, 64, GraphShape(tokens=16, short=16, rows=16, blocks=64)) is not None
    long = [Chunk(0, 5, 1, (0,), True), Chunk(1, 60, 70, (1, 2, 3), True), Chunk(2, 0, 80, (4, 5), False)]
    mixed = Batch(long, np.zeros(151, np.int32), np.zeros((0, 2), np.int32), None, ())
    room = GraphShape(tokens=151, short=1, rows=2, blocks=3, keys=210, segments=2)
    assert pad(mixed, 64, room) is not None
    for name in ("tokens", "short", "rows", "blocks", "keys", "segments"):
        assert pad(mixed, 64, replace(room, **{name: getattr(room, name) - 1})) is None, name
