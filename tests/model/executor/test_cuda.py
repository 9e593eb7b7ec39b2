"""A GPU's network answers as the plain one does: on a GPU if there is one, else interpreted."""

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
from model.engine.engine import BatchEngine
from model.engine.reference import ReferenceEngine
from model.engine.request import Completion, Group
from model.executor import attention_inputs, fused_decoder, graph_inputs
from model.executor.cuda import CudaExecutor
from model.executor.eager import EagerExecutor
from model.executor.factory import make_executor
from model.executor.fused_layers import FusedModel, interleave
from model.executor.graph_inputs import GraphShape, pad
from model.kernels import elementwise
from model.network.pixtral import Pixtral
from model.transfer import StaticTensors
from tests.model.configs import configured
from tests.model.engine.test_engine import EOS, answers, make_group
from tests.model.tiny import VISION, tiny_pixtral

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZE = 4
FUSED = configured(block_size=SIZE, cache_tokens=400, fused=True, async_scheduling=True)
GROUPS = [make_group("a", [(0, 2, 3)], [(3, 3), (4, 3)]), make_group("b", [], [(2, 3)])]


def make_model(dtype: torch.dtype = torch.float32) -> Pixtral:
    return tiny_pixtral(dtype=dtype).to(DEVICE)


def assert_alike(ours: dict[str, Completion], theirs: dict[str, Completion], tolerance: float) -> None:
    """The same tokens, and log-probabilities that differ by rounding."""
    assert ours.keys() == theirs.keys()
    for id, completion in theirs.items():
        assert ours[id].error is None
        assert ours[id].token_ids == completion.token_ids
        assert ours[id].logprobs == pytest.approx(completion.logprobs, abs=tolerance)


@pytest.fixture(scope="module")
def expected() -> dict[str, Completion]:
    return answers(ReferenceEngine(make_model(), eos_id=EOS), GROUPS)


@pytest.mark.parametrize("short", [64, 4], ids=["short chunks", "long chunks"])
def test_the_fused_engine_answers_as_the_plain_loop(
    expected: dict[str, Completion], short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_inputs, "SHORT", short)
    assert_alike(answers(BatchEngine(make_model(), eos_id=EOS, config=FUSED), GROUPS), expected, 1e-4)


def test_prompts_in_pieces_are_answered_alike(
    expected: dict[str, Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_inputs, "SHORT", 4)
    pieces = configured(FUSED, max_num_batched_tokens=9)
    assert_alike(answers(BatchEngine(make_model(), eos_id=EOS, config=pieces), GROUPS), expected, 1e-4)


def test_a_cache_in_fp8_changes_log_probabilities_a_little(expected: dict[str, Completion]) -> None:
    engine = BatchEngine(make_model(), eos_id=EOS, config=configured(FUSED, fp8_cache=True))
    changes = [
        abs(completion.logprobs[0] - expected[id].logprobs[0])
        for id, completion in answers(engine, GROUPS).items()
        if completion.token_ids[0] == expected[id].token_ids[0]
    ]
    assert changes
    assert 0 < max(changes) < 0.5


def test_the_parameters_are_views_of_the_fused_weights() -> None:
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    FusedModel(model, fp8=False)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    wq, wv = (model.get_parameter(f"layers.0.attention.{name}.weight") for name in ("wq", "wv"))
    assert wq.untyped_storage().data_ptr() == wv.untyped_storage().data_ptr()


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
    embedded_TD = fused._decoder.embed(inputs.ids_T[:tokens], batch)
    x_TD = torch.cat([embedded_TD, embedded_TD.new_zeros(shape.tokens - tokens, embedded_TD.shape[1])])
    [logits_RV] = interleave(fused._decoder.forward(x_TD, inputs))
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


def test_the_cache_is_sized_beside_weights_in_fp8_too() -> None:
    model = make_model()
    config = configured(FUSED, cache_tokens=None, fp8_weights=True, graphs=False)  # nothing is multiplied
    executor = make_executor(model, config.executor)
    assert executor.cache.k_LCSGH.shape[3] == model.config.n_kv_heads
    assert sum(parameter.numel() for parameter in model.layers.parameters() if parameter.dim() > 1) == 0


def test_fp8_needs_the_kernels() -> None:
    with pytest.raises(ValueError, match="FP8 needs a GPU's kernels"):
        BatchEngine(make_model(), eos_id=EOS, config=configured(FUSED, fused=False, fp8_cache=True))


@pytest.mark.gpu
def test_a_graph_decodes_as_eager_launches_do() -> None:
    def run(graphs: bool) -> dict[str, Completion]:
        config = configured(FUSED, block_size=64, cache_tokens=4096, graphs=graphs)
        return answers(BatchEngine(make_model(), eos_id=EOS, config=config), GROUPS)

    assert_alike(run(True), run(False), 1e-4)


@pytest.mark.gpu
@torch.inference_mode()
def test_a_graph_computes_a_mixed_step_as_eager_launches_do() -> None:
    """Prompts that begin and that go on, beside tokens that decode: in bfloat16, up to its rounding."""
    model = make_model(torch.bfloat16)
    like = model.norm.weight
    cache = PagedCache(layers=len(model.layers), blocks=32, size=64, heads=2, width=16, like=like)
    chunks = [
        Chunk(0, 90, 1, (0, 1), True),
        Chunk(1, 3, 20, (2,), True),
        Chunk(2, 0, 100, (3, 4), False),
        Chunk(3, 200, 300, tuple(range(5, 13)), True),
    ]
    batch = Batch(chunks, np.arange(20, 441, dtype=np.int32) % 64, np.zeros((0, 2), np.int32), None, ())
    eager = CudaExecutor(FusedModel(model, fp8=False), cache, max_graph_seqs=0).step(batch)
    replaying = CudaExecutor(FusedModel(model, fp8=False), cache, max_graph_seqs=16)
    replayed_RV = replaying._graphs.step(batch)
    assert replayed_RV is not None
    torch.testing.assert_close(replayed_RV.float(), eager.float(), rtol=0.05, atol=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize("fp8", [False, True])
def test_bfloat16_and_fp8_weights_stay_near_float32(fp8: bool) -> None:
    def make(dtype: torch.dtype) -> Pixtral:
        vision = replace(VISION, intermediate_size=48)  # FP8's products want multiples of 16
        return tiny_pixtral(dtype=dtype, hidden_dim=80, vision=vision).to(DEVICE)

    group: Group = GROUPS[0]
    expected = answers(ReferenceEngine(make(torch.float32), eos_id=EOS), [group])
    config = configured(FUSED, block_size=64, cache_tokens=4096, fp8_weights=fp8)
    ours = answers(BatchEngine(make(torch.bfloat16), eos_id=EOS, config=config), [group])
    for id, completion in ours.items():
        if completion.token_ids[0] == expected[id].token_ids[0]:
            assert completion.logprobs[0] == pytest.approx(expected[id].logprobs[0], abs=0.5 if fp8 else 0.1)
