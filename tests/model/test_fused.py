"""A GPU's network answers as the plain one does: on a GPU if there is one, else interpreted."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")

from model import inputs
from model.batch import Batch
from model.decoder import FusedNetwork
from model.engine import BatchEngine, EngineConfig
from model.inputs import pad, padded_inputs
from model.naive import NaiveEngine
from model.paged import PagedCache
from model.pixtral import Pixtral
from model.plain import PlainNetwork
from model.plan import Chunk
from model.requests import Completion, Group
from model.upload import Slots
from tests.model.test_engine import EOS, answers, make_group
from tests.model.tiny import tiny_pixtral

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZE = 4
FUSED = EngineConfig(block_size=SIZE, cache_tokens=400, fused=True, ahead=True)
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
    return answers(NaiveEngine(make_model(), eos_id=EOS), GROUPS)


@pytest.mark.parametrize("short", [64, 4], ids=["short chunks", "long chunks"])
def test_the_fused_engine_answers_as_the_plain_loop(
    expected: dict[str, Completion], short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "SHORT", short)
    assert_alike(answers(BatchEngine(make_model(), eos_id=EOS, config=FUSED), GROUPS), expected, 1e-4)


def test_prompts_in_pieces_are_answered_alike(
    expected: dict[str, Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "SHORT", 4)
    pieces = replace(FUSED, step_tokens=9)
    assert_alike(answers(BatchEngine(make_model(), eos_id=EOS, config=pieces), GROUPS), expected, 1e-4)


def test_a_cache_in_fp8_changes_log_probabilities_a_little(expected: dict[str, Completion]) -> None:
    engine = BatchEngine(make_model(), eos_id=EOS, config=replace(FUSED, fp8_cache=True))
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
    FusedNetwork(model, fp8=False, replayed=0)
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


@torch.inference_mode()
def test_a_step_filled_up_to_a_graphs_size_is_the_same_step() -> None:
    """What a graph is captured from: tokens of no sequence change nothing and write nowhere."""
    model, batch = make_model(), decoding([9, 5, 14])
    cache = PagedCache(
        layers=len(model.layers), blocks=12, size=SIZE, heads=2, width=16, like=model.norm.weight
    )
    noise = torch.randn(cache.k_LCSGH.shape, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    cache.k_LCSGH.copy_(noise)
    cache.v_LCSGH.copy_(noise.flip(0))
    plain = PlainNetwork(model, cache).step(batch) if DEVICE.type == "cpu" else None
    decoder = FusedNetwork(model, fp8=False, replayed=0).over(cache)
    eager = decoder.step(batch)
    before = cache.k_LCSGH.clone()
    arrays = pad(batch, SIZE, 8, 16)
    assert arrays is not None
    there = Slots(arrays, DEVICE)
    filled = decoder.forward(padded_inputs(there, 16), None)
    torch.testing.assert_close(filled[:3], eager)
    torch.testing.assert_close(cache.k_LCSGH, before)
    if plain is not None:
        torch.testing.assert_close(eager, plain, rtol=1e-4, atol=1e-4)


def test_a_step_of_too_many_items_fits_no_graph() -> None:
    """256 sequences, each of which leaves the common beginning four blocks after the one before it."""
    depths = [4 * min(row, 56) for row in range(256)]
    chunks = [
        Chunk(row, 64 * depth + 3, 1, (*range(depth), 1000 + row), True) for row, depth in enumerate(depths)
    ]
    batch = Batch(chunks, np.zeros(256, np.int32), np.zeros((0, 2), np.int32), None, ())
    assert pad(batch, 64, 256, 256) is None
    few = Batch(chunks[:16], np.zeros(16, np.int32), np.zeros((0, 2), np.int32), None, ())
    assert pad(few, 64, 16, 64) is not None


def test_fp8_needs_the_kernels() -> None:
    with pytest.raises(ValueError, match="FP8 needs a GPU's kernels"):
        BatchEngine(make_model(), eos_id=EOS, config=replace(FUSED, fused=False, fp8_cache=True))


@pytest.mark.gpu
def test_a_graph_decodes_as_eager_launches_do() -> None:
    def run(graphs: bool) -> dict[str, Completion]:
        config = replace(FUSED, block_size=64, cache_tokens=4096, graphs=graphs)
        return answers(BatchEngine(make_model(), eos_id=EOS, config=config), GROUPS)

    assert_alike(run(True), run(False), 1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("fp8", [False, True])
def test_bfloat16_and_fp8_weights_stay_near_float32(expected: dict[str, Completion], fp8: bool) -> None:
    group: Group = GROUPS[0]
    config = replace(FUSED, block_size=64, cache_tokens=4096, fp8_weights=fp8)
    ours = answers(BatchEngine(make_model(torch.bfloat16), eos_id=EOS, config=config), [group])
    for id, completion in ours.items():
        if completion.token_ids[0] == expected[id].token_ids[0]:
            assert completion.logprobs[0] == pytest.approx(expected[id].logprobs[0], abs=0.5 if fp8 else 0.1)
