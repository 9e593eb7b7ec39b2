"""A GPU's executor answers as the plain loop does: on a GPU if there is one, else interpreted."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")

from model.engine.engine import BatchEngine
from model.engine.reference import ReferenceEngine
from model.engine.request import Completion, Group
from model.executor import attention_inputs, fused_decoder
from model.executor.attention_inputs import LongChunks
from model.network.layers import Segments
from model.network.pixtral import Pixtral
from tests.model.configs import configured
from tests.model.engine.test_engine import EOS, answers
from tests.model.executor.fused import DEVICE, FUSED, GROUPS, assert_alike, make_model
from tests.model.tiny import VISION, tiny_pixtral


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


def test_keys_that_are_gathered_in_parts_give_the_same_answers(
    expected: dict[str, Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_inputs, "SHORT", 1)
    monkeypatch.setattr(attention_inputs, "GATHERED_KEYS", 10)
    parts = []
    whole = attention_inputs.segments_of

    def count(long: LongChunks[Tensor]) -> list[tuple[Segments, Tensor | None]]:
        parts.append(len(found := whole(long)))
        return found

    monkeypatch.setattr(fused_decoder, "segments_of", count)
    pieces = configured(FUSED, max_num_batched_tokens=9)
    assert_alike(answers(BatchEngine(make_model(), eos_id=EOS, config=pieces), GROUPS), expected, 1e-4)
    assert max(parts) > 1


@pytest.mark.gpu
def test_plain_torch_computes_on_a_gpu_too(expected: dict[str, Completion]) -> None:
    plain = configured(FUSED, fused=False)
    assert_alike(answers(BatchEngine(make_model(), eos_id=EOS, config=plain), GROUPS), expected, 1e-4)


def test_a_cache_in_fp8_changes_log_probabilities_a_little(expected: dict[str, Completion]) -> None:
    engine = BatchEngine(make_model(), eos_id=EOS, config=configured(FUSED, fp8_cache=True))
    changes = [
        abs(completion.logprobs[0] - expected[id].logprobs[0])
        for id, completion in answers(engine, GROUPS).items()
        if completion.token_ids[0] == expected[id].token_ids[0]
    ]
    assert changes
    assert 0 < max(changes) < 0.5


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
