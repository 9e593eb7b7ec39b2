"""The batch engine answers as the plain loop does, whatever else is in the batch and however it is cut."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.engine.config import EngineConfig
from model.engine.engine import BatchEngine
from model.engine.reference import ReferenceEngine
from model.engine.repetition import RepetitionLimit
from model.engine.request import Branch, Completion, Engine, Group
from model.engine.sampling_params import SamplingParams
from model.network.pixtral import Pixtral
from model.text.grammar import Grammars
from model.text.tokenizer import Tokenizer
from tests.model.configs import configured
from tests.model.tiny import image_ids, tiny_pixtral

EOS = 2
SIZE = 4  # tokens of a block: every prefix here has several, and most a partial one
ROOMY = configured(block_size=SIZE, cache_tokens=2000)
LOOPS = RepetitionLimit(longest=3, times=3, tokens=6)


@pytest.fixture(scope="module")
def model() -> Pixtral:
    return tiny_pixtral(dtype=torch.float64)


def page(seed: int, rows: int, columns: int) -> tuple[np.ndarray, list[int]]:
    """Pixels on the grid, and the tokens that stand for them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (rows * 16, columns * 16, 3), dtype=np.uint8)
    return pixels, image_ids(rows, columns)


def make_group(
    name: str,
    pages: Sequence[tuple[int, int, int]],
    questions: Sequence[tuple[int, int]],
    *,
    sampling: SamplingParams | None = None,
    system: int = 3,
) -> Group:
    """`pages` are (seed, rows, columns); `questions` are lengths of question and of the longest answer."""
    prefix = [1, 3, *range(20, 20 + system)]
    images = []
    for seed, rows, columns in pages:
        pixels, ids = page(seed, rows, columns)
        images.append(pixels)
        prefix += [*ids, 19]
    branches = [
        Branch(
            id=f"{name}/{number}",
            ids=[*(30 + (number * 7 + place) % 20 for place in range(length - 1)), 4],
            max_new_tokens=tokens,
            sampling=sampling or SamplingParams(),
        )
        for number, (length, tokens) in enumerate(questions)
    ]
    return Group(id=name, prefix_ids=prefix, images=images, branches=branches, max_side=128)


def run(engine: Engine) -> dict[str, Completion]:
    done: dict[str, Completion] = {}
    while engine.pending:
        for completion in engine.step():
            assert completion.id not in done
            done[completion.id] = completion
    assert engine.step() == []
    return done


def answers(engine: Engine, groups: Sequence[Group]) -> dict[str, Completion]:
    for group in groups:
        engine.submit(group)
    return run(engine)


def batch(model: Pixtral, groups: Sequence[Group], config: EngineConfig = ROOMY) -> dict[str, Completion]:
    engine = BatchEngine(model, eos_id=EOS, config=config)
    done = answers(engine, groups)
    assert_empty(engine)
    return done


def assert_empty(engine: BatchEngine) -> None:
    """Nothing is left behind: no request, no features, no block in use."""
    blocks = engine._scheduler._blocks
    assert blocks.free == blocks.count
    assert not engine._groups
    assert not engine._branches


def assert_equal(ours: dict[str, Completion], theirs: dict[str, Completion]) -> None:
    assert sorted(ours) == sorted(theirs)
    for name, completion in ours.items():
        expected = theirs[name]
        assert completion.token_ids == expected.token_ids, name
        np.testing.assert_allclose(completion.logprobs, expected.logprobs, atol=1e-9, rtol=0)
        assert completion.finish_reason == expected.finish_reason, name
        assert completion.prompt_tokens == expected.prompt_tokens
        assert completion.stopped_at == expected.stopped_at
        assert completion.error == expected.error


def mixed_groups() -> list[Group]:
    return [
        make_group("a", [(0, 2, 3)], [(3, 6), (1, 4), (5, 9)]),
        make_group("b", [(1, 3, 1), (2, 1, 4)], [(2, 7)]),
        make_group("c", [], [(2, 5), (2, 5)], system=0),
        make_group("d", [(0, 2, 3)], [(4, 6)]),
        make_group("e", [(3, 5, 5)], [(3, 3), (3, 8), (2, 1), (9, 6)]),
    ]


@pytest.fixture(scope="module")
def expected(model: Pixtral) -> dict[str, Completion]:
    done = answers(ReferenceEngine(model, eos_id=EOS), mixed_groups())
    assert {completion.finish_reason for completion in done.values()} >= {"length"}
    assert len({tuple(completion.token_ids) for completion in done.values()}) > 6
    return done


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_a_batch_of_groups_equals_the_plain_loop(
    model: Pixtral, expected: dict[str, Completion], async_scheduling: bool
) -> None:
    assert_equal(batch(model, mixed_groups(), configured(ROOMY, async_scheduling=async_scheduling)), expected)


def test_ahead_a_step_is_launched_before_the_last_one_is_read(model: Pixtral) -> None:
    """So each token comes a step later, and the second is computed from one that the host has not seen."""
    group = make_group("a", [], [(2, 2)])
    steps = {}
    for ahead in (False, True):
        engine = BatchEngine(model, eos_id=EOS, config=configured(ROOMY, async_scheduling=ahead))
        engine.submit(group)
        steps[ahead] = [bool(engine.step()) for _ in range(4)]
    assert steps == {False: [False, False, True, False], True: [False, False, False, True]}


def test_alone_equals_in_company(model: Pixtral, expected: dict[str, Completion]) -> None:
    for group in mixed_groups():
        for branch in group.branches:
            alone = batch(model, [replace(group, branches=[branch])])
            assert_equal(alone, {branch.id: expected[branch.id]})


@pytest.mark.parametrize("max_num_batched_tokens", [1, 2, 3, 5, 7, 16, 33])
def test_prefill_in_chunks_equals_prefill_whole(
    model: Pixtral, expected: dict[str, Completion], max_num_batched_tokens: int
) -> None:
    assert_equal(
        batch(model, mixed_groups(), configured(ROOMY, max_num_batched_tokens=max_num_batched_tokens)),
        expected,
    )


@pytest.mark.parametrize("async_scheduling", [False, True])
@pytest.mark.parametrize("blocks", [13, 14, 17, 23])
def test_preempted_equals_undisturbed(
    model: Pixtral, expected: dict[str, Completion], blocks: int, async_scheduling: bool
) -> None:
    config = configured(
        ROOMY,
        cache_tokens=blocks * SIZE,
        reserve=0.0,
        max_num_batched_tokens=20,
        async_scheduling=async_scheduling,
    )
    engine = BatchEngine(model, eos_id=EOS, config=config)
    assert_equal(answers(engine, mixed_groups()), expected)
    assert engine.preemptions > 0
    assert_empty(engine)


def test_a_shared_prefix_equals_one_of_its_own(model: Pixtral, expected: dict[str, Completion]) -> None:
    unshared: list[tuple[Group, Sequence[int]]] = []
    for group in mixed_groups():
        for branch in group.branches:
            ids = [*group.prefix_ids[:1], 40 + len(unshared), *group.prefix_ids[2:]]
            unshared.append(
                (replace(group, id=branch.id, prefix_ids=ids, branches=[branch]), group.prefix_ids)
            )
    engine = BatchEngine(model, eos_id=EOS, config=ROOMY)
    for group, _ in unshared:
        engine.submit(group)
    run(engine)
    for group, prefix_ids in unshared:  # one after the other, in a cache full of like prefixes
        engine.submit(replace(group, prefix_ids=prefix_ids))
        assert_equal(run(engine), {group.id: expected[group.id]})


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_aborted_others_change_nothing(
    model: Pixtral, expected: dict[str, Completion], async_scheduling: bool
) -> None:
    for steps in range(8):
        engine = BatchEngine(
            model,
            eos_id=EOS,
            config=configured(ROOMY, max_num_batched_tokens=12, async_scheduling=async_scheduling),
        )
        for group in mixed_groups():
            engine.submit(group)
        done = {completion.id: completion for _ in range(steps) for completion in engine.step()}
        engine.abort("a/1")
        engine.abort("e")
        engine.abort("finished long ago")
        done |= run(engine)
        kept = {name for name in expected if name != "a/1" and not name.startswith("e/")}
        assert kept <= set(done)
        assert_equal(done, {name: expected[name] for name in done})
        assert_empty(engine)


@given(
    groups=st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 3)), max_size=2),
            st.lists(st.tuples(st.integers(1, 6), st.integers(1, 12)), min_size=1, max_size=4),
            st.integers(0, 5),
        ),
        min_size=1,
        max_size=5,
    ),
    max_num_batched_tokens=st.integers(1, 60),
    max_num_seqs=st.integers(1, 6),
    blocks=st.integers(13, 24),
    reserve=st.sampled_from([0.0, 0.0, 1.0]),
    encode_patches=st.sampled_from([0, 10, 1000]),
    temperature=st.sampled_from([0.0, 1.0]),
    late=st.integers(0, 5),
    async_scheduling=st.booleans(),
)
@settings(max_examples=60)
def test_any_mix_equals_the_plain_loop(
    model: Pixtral,
    groups: list[tuple[list[tuple[int, int, int]], list[tuple[int, int]], int]],
    max_num_batched_tokens: int,
    max_num_seqs: int,
    blocks: int,
    reserve: float,
    encode_patches: int,
    temperature: float,
    late: int,
    async_scheduling: bool,
) -> None:
    asked = [
        make_group(
            str(number), pages, questions, system=system, sampling=SamplingParams(temperature=temperature)
        )
        for number, (pages, questions, system) in enumerate(groups)
    ]
    config = configured(
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        block_size=SIZE,
        cache_tokens=blocks * SIZE,
        reserve=reserve,
        encode_patches=encode_patches,
        async_scheduling=async_scheduling,
        repetition=LOOPS,
    )
    engine = BatchEngine(model, eos_id=EOS, config=config)
    for group in asked[:-1]:
        engine.submit(group)
    done = {completion.id: completion for _ in range(late) for completion in engine.step()}
    done |= answers(engine, asked[-1:])
    assert_equal(done, answers(ReferenceEngine(model, eos_id=EOS, repetition=LOOPS), asked))
    assert_empty(engine)


def test_identical_pages_are_computed_once_even_in_later_calls(
    model: Pixtral, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = model.encode_images

    def count(images: Sequence[Tensor]) -> Tensor:
        encoded.append(len(images))
        return encode(images)

    monkeypatch.setattr(model, "encode_images", count)
    engine = BatchEngine(model, eos_id=EOS, config=ROOMY)
    questions = [(3, 4), (2, 4)]
    groups = [make_group(name, [(7, 3, 4)], questions) for name in "abc"]
    done = answers(engine, groups)
    assert encoded == [1]
    tokens = len(groups[0].prefix_ids)
    assert [done[f"a/{number}"].cached_tokens for number in (0, 1)] == [0, tokens]
    assert [done[f"b/{number}"].cached_tokens for number in (0, 1)] == [tokens, tokens]
    later = answers(engine, [make_group("later", [(7, 3, 4)], [(5, 4)])])
    assert encoded == [1]
    assert later["later/0"].cached_tokens == tokens
    # Other pixels of the same size, or the same pixels after other words, are another prefix.
    answers(engine, [make_group("other", [(8, 3, 4)], questions)])
    answers(engine, [make_group("words", [(7, 3, 4)], questions, system=4)])
    assert encoded == [1, 1, 1]


def test_equal_images_are_encoded_once_and_release_their_features(
    model: Pixtral, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one group, of groups of other words, and of waiting groups that will find theirs in the cache."""
    encoded: list[int] = []
    encode = model.encode_images

    def count(images: Sequence[Tensor]) -> Tensor:
        encoded.append(len(images))
        return encode(images)

    monkeypatch.setattr(model, "encode_images", count)
    image = (7, 3, 4)
    groups = [
        make_group("twice", [image, image], [(3, 9)]),
        make_group("equal", [image, image], [(4, 9)]),
        make_group("words", [image], [(3, 9)], system=4),
    ]
    for config in (ROOMY, configured(ROOMY, max_num_batched_tokens=20, encode_patches=100)):
        engine = BatchEngine(model, eos_id=EOS, config=config)
        encoded.clear()
        for group in groups:
            engine.submit(group)
        done: dict[str, Completion] = {}
        while engine.pending:
            done |= {completion.id: completion for completion in engine.step()}
            # Of groups whose branches have started.
            started = [work.prefix for work in engine._groups.values() if work.cached]
            assert all(picture.features_PD is None for prefix in started for picture in prefix.images)
        assert encoded == [1]
        assert_equal(done, answers(ReferenceEngine(model, eos_id=EOS), groups))


def test_an_image_seen_at_two_sizes_is_two_prefixes(model: Pixtral) -> None:
    """Here both begin with the same tokens: a column of patches, 3 of them or 7."""
    sliver = np.random.default_rng(5).integers(0, 256, (100, 10, 3), dtype=np.uint8)
    groups = []
    for rows, max_side in ((3, 48), (7, 112)):
        branch = Branch(id=str(max_side), ids=[30, 4], max_new_tokens=6)
        prefix = [1, 3, *image_ids(rows, 1)]
        groups.append(
            Group(id=str(max_side), prefix_ids=prefix, images=[sliver], branches=[branch], max_side=max_side)
        )
    engine = BatchEngine(model, eos_id=EOS, config=ROOMY)
    for group in groups:
        assert_equal(answers(engine, [group]), answers(ReferenceEngine(model, eos_id=EOS), [group]))


def test_features_are_dropped_once_their_image_is_prefilled(model: Pixtral) -> None:
    engine = BatchEngine(model, eos_id=EOS, config=configured(ROOMY, max_num_batched_tokens=20))
    engine.submit(make_group("a", [(0, 2, 3), (1, 3, 3)], [(3, 6)]))
    kept = []
    for _ in range(3):
        engine.step()
        pictures = next(iter(engine._groups.values())).prefix.images
        kept.append([picture.features_PD is not None for picture in pictures])
    assert kept == [[False, True], [False, False], [False, False]]


def test_the_encoder_takes_all_pages_of_a_step_and_goes_ahead_as_told(
    model: Pixtral, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = model.encode_images

    def count(images: Sequence[Tensor]) -> Tensor:
        encoded.append(len(images))
        return encode(images)

    monkeypatch.setattr(model, "encode_images", count)
    groups = [make_group(str(seed), [(seed, 2, 3)], [(2, 2)]) for seed in range(4)]
    batch(model, groups)
    assert encoded == [4]
    encoded.clear()
    batch(model, groups, configured(ROOMY, max_num_batched_tokens=20))
    assert sum(encoded) == 4
    assert len(encoded) > 2
    encoded.clear()
    batch(model, groups, configured(ROOMY, max_num_batched_tokens=20, encode_patches=100))
    assert encoded == [4]


def test_only_sampled_rows_are_computed_in_the_last_layer(
    model: Pixtral, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: dict[str, list[int]] = {"first": [], "last": [], "output": []}
    handles = [
        module.register_forward_hook(lambda _, inputs, __, name=name: rows[name].append(len(inputs[0])))
        for name, module in (
            ("first", model.get_submodule("layers.0.feed_forward")),
            ("last", model.get_submodule(f"layers.{len(model.layers) - 1}.feed_forward")),
            ("output", model.output),
        )
    ]
    group = make_group("a", [(0, 2, 3)], [(3, 2), (5, 2)])
    batch(model, [group])
    for handle in handles:
        handle.remove()
    assert rows == {"first": [len(group.prefix_ids), 8, 2], "last": [0, 2, 2], "output": [0, 2, 2]}


@pytest.mark.parametrize("engine_type", [ReferenceEngine, BatchEngine])
def test_answers_can_be_given_their_full_length(
    model: Pixtral, expected: dict[str, Completion], engine_type: type[ReferenceEngine | BatchEngine]
) -> None:
    stop = expected["a/2"].token_ids[1]
    group = mixed_groups()[0]
    short = answers(engine_type(model, eos_id=stop), [group])["a/2"]
    assert short.finish_reason == "stop"
    assert len(short.token_ids) < 9
    branches = [replace(branch, sampling=SamplingParams(ignore_eos=True)) for branch in group.branches]
    long = answers(engine_type(model, eos_id=stop), [replace(group, branches=branches)])["a/2"]
    assert (long.finish_reason, long.token_ids) == ("length", expected["a/2"].token_ids)


def test_a_loop_ends_the_answer() -> None:
    model = tiny_pixtral()
    model.output.weight.zero_()  # every token is as likely, and the first is taken
    group = make_group("a", [], [(3, 50)])
    for engine in (
        ReferenceEngine(model, eos_id=EOS, repetition=LOOPS),
        BatchEngine(model, eos_id=EOS, config=configured(ROOMY, repetition=LOOPS)),
    ):
        completion = answers(engine, [group])["a/0"]
        assert (completion.finish_reason, completion.token_ids) == ("repetition", [0] * 6)


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_an_answer_ends_before_its_stop_string(async_scheduling: bool) -> None:
    """Which begins and ends within tokens; beside others, and preempted."""
    tokenizer = Tokenizer.from_file(Path("model/nano/tekken.json"))
    model = tiny_pixtral(dtype=torch.float64, vocab_size=tokenizer.vocab_size)
    made: dict[str, Any] = {"eos_id": EOS, "token_bytes": tokenizer.token_bytes}
    group = make_group("a", [(0, 2, 3)], [(3, 30)] * 6)
    branches = [
        replace(branch, sampling=SamplingParams(temperature=1.0, seed=seed))
        for seed, branch in enumerate(group.branches)
    ]
    free = answers(ReferenceEngine(model, **made), [replace(group, branches=branches)])
    written = [b"".join(map(tokenizer.token_bytes, free[f"a/{place}"].token_ids)) for place in range(6)]
    # Of each answer some characters from its middle; the last one holds none of its stop strings.
    texts = [text.decode(errors="ignore") for text in written]
    stops = [(text[9:13], "no such text") for text in texts[:5]] + [("no such text",)]
    branches = [replace(branch, stop=stop) for branch, stop in zip(branches, stops, strict=True)]
    group = replace(group, branches=branches)
    expected = answers(ReferenceEngine(model, **made), [group])
    for place, (text, (stop, *_)) in enumerate(zip(written[:5], stops, strict=False)):
        completion = expected[f"a/{place}"]
        assert completion.finish_reason == "stop"
        assert completion.stopped_at == text.index(stop.encode())
        tokens = list(map(tokenizer.token_bytes, completion.token_ids))
        assert stop.encode() in b"".join(tokens)
        assert stop.encode() not in b"".join(tokens[:-1])
    assert expected["a/5"] == replace(free["a/5"])
    roomy = configured(ROOMY, async_scheduling=async_scheduling)
    for config in (roomy, configured(roomy, block_size=1, cache_tokens=48, reserve=0.0)):
        engine = BatchEngine(model, config=config, **made)
        assert_equal(answers(engine, [group]), expected)
        assert bool(engine.preemptions) == (config is not roomy)
        assert_empty(engine)
    without = answers(BatchEngine(model, eos_id=EOS, config=ROOMY), [group])
    assert "made without token_bytes" in str(without["a/0"].error)
    empty = replace(group, branches=[replace(branches[0], stop=("",))])
    assert "stop string is empty" in str(
        answers(BatchEngine(model, config=ROOMY, **made), [empty])["a/0"].error
    )


@pytest.mark.parametrize("async_scheduling", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_grammars_hold_in_a_batch_as_in_the_plain_loop(temperature: float, async_scheduling: bool) -> None:
    """Constrained beside free, preempted in mid-answer, cut and refused."""
    tokenizer = Tokenizer.from_file(Path("model/nano/tekken.json"))
    model = tiny_pixtral(dtype=torch.float64, vocab_size=tokenizer.vocab_size)
    grammars = Grammars(tokenizer)
    number = json.dumps({"type": "integer", "minimum": 100, "maximum": 999})
    day = json.dumps({"type": "string", "format": "date"})
    group = make_group("a", [(0, 2, 3)], [(3, 30)] * 12, sampling=SamplingParams(temperature=temperature))
    schemas = [day, None, number, day, '{"type": "uri"}', number] + [day] * 6
    branches = [
        replace(branch, grammar=schema) for branch, schema in zip(group.branches, schemas, strict=True)
    ]
    branches[3] = replace(branches[3], max_new_tokens=4)
    group = replace(group, branches=branches)
    expected = answers(ReferenceEngine(model, eos_id=EOS, grammars=grammars), [group])
    roomy = configured(ROOMY, async_scheduling=async_scheduling)
    tight = configured(roomy, block_size=1, cache_tokens=48, reserve=0.0, max_num_batched_tokens=9)
    for config in (roomy, tight):
        engine = BatchEngine(model, eos_id=EOS, grammars=grammars, config=config)
        done = answers(engine, [group])
        assert_equal(done, expected)
        assert bool(engine.preemptions) == (config is tight)
    reasons = [expected[f"a/{place}"].finish_reason for place in range(6)]
    assert [reasons[0], *reasons[2:]] == ["stop", "stop", "length", "error", "stop"]
    date.fromisoformat(json.loads(tokenizer.decode(expected["a/0"].token_ids)))
    assert 100 <= json.loads(tokenizer.decode(expected["a/5"].token_ids)) <= 999
    without = answers(BatchEngine(model, eos_id=EOS, config=ROOMY), [group])
    assert "made without grammars" in str(without["a/0"].error)
    with pytest.raises(ValueError, match="over 3048 tokens, the model has 64"):
        BatchEngine(tiny_pixtral(), eos_id=EOS, grammars=grammars)


def test_a_bad_group_is_an_error_and_the_others_are_answered(
    model: Pixtral, expected: dict[str, Completion]
) -> None:
    good = mixed_groups()
    bad = [
        replace(make_group("bad0", [(0, 2, 3)], [(3, 6), (1, 4)]), images=[]),
        replace(make_group("bad1", [(0, 2, 3)], [(3, 6)]), max_side=256),
        make_group("bad2", [(0, 2, 3)], [(3, 6), (3, 5000)]),
        make_group("bad3", [], [(3, 0)]),
    ]
    done = batch(model, [bad[0], good[0], bad[1], *good[1:], *bad[2:]])
    assert_equal({name: done[name] for name in expected}, expected)
    errors = {name: str(done[name].error) for name in done if done[name].finish_reason == "error"}
    assert sorted(errors) == ["bad0/0", "bad0/1", "bad1/0", "bad2/1", "bad3/0"]
    assert "image tokens are not those of 0 images" in errors["bad0/0"]
    assert "above the model's image_size" in errors["bad1/0"]
    assert "the cache holds 2000: lower max_new_tokens" in errors["bad2/1"]
    assert done["bad2/0"].finish_reason == "length"


def test_what_may_become_longer_than_the_bound_is_refused(model: Pixtral) -> None:
    config = replace(ROOMY, max_model_len=40)
    group = make_group("g", [(1, 2, 2)], [(3, 4), (3, 30)])
    done = batch(model, [group], config)
    assert done["g/0"].finish_reason in ("stop", "length")
    assert "the model's context holds 40" in str(done["g/1"].error)


def test_a_page_that_cannot_be_encoded_fails_alone(
    model: Pixtral, expected: dict[str, Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = model.encode_images

    def run_out(images: Sequence[Tensor]) -> Tensor:
        if any(image.shape == (3, 80, 80) for image in images):
            raise torch.OutOfMemoryError("tried to allocate 40 GiB")
        return encode(images)

    monkeypatch.setattr(model, "encode_images", run_out)
    done = batch(model, mixed_groups())
    for name, completion in done.items():
        if name.startswith("e/"):
            assert completion.error == "OutOfMemoryError: tried to allocate 40 GiB"
        else:
            assert_equal({name: completion}, {name: expected[name]})


def test_steps_that_lack_memory_are_halved(
    model: Pixtral, expected: dict[str, Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a part of one prompt is left, if need be."""
    step = model.step
    lengths = []

    def run_out(x_TD: Tensor, *rest: Any) -> Tensor:
        lengths.append(len(x_TD))
        if len(x_TD) > 7:
            raise torch.OutOfMemoryError("tried to allocate 40 GiB")
        return step(x_TD, *rest)

    monkeypatch.setattr(model, "step", run_out)
    assert_equal(batch(model, mixed_groups()), expected)
    assert max(lengths) > 14


def test_a_sequence_that_cannot_be_computed_fails_alone(
    model: Pixtral, expected: dict[str, Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = model.step

    def run_out(x_TD: Tensor, positions_T: Tensor, *rest: Any) -> Tensor:
        if int(positions_T.max()) >= 28:  # only group e's sequences are so long
            raise RuntimeError("out of something")
        return step(x_TD, positions_T, *rest)

    monkeypatch.setattr(model, "step", run_out)
    done = batch(model, mixed_groups())
    for name, completion in done.items():
        if name.startswith("e/"):
            assert completion.error == "RuntimeError: out of something"
        else:
            assert_equal({name: completion}, {name: expected[name]})


def test_an_answer_that_had_ended_is_not_lost_with_the_step_after_it(
    model: Pixtral, expected: dict[str, Completion], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ahead, that step is launched before the end is known."""
    group = mixed_groups()[0]
    group = replace(group, branches=group.branches[:1])
    engine = BatchEngine(
        model, eos_id=expected["a/0"].token_ids[0], config=configured(ROOMY, async_scheduling=True)
    )
    engine.submit(group)
    assert [engine.step(), engine.step()] == [[], []]  # the page, then the question

    def run_out(*_: object) -> None:
        raise RuntimeError("out of something")

    monkeypatch.setattr(model, "step", run_out)
    assert [(one.id, one.finish_reason, one.error) for one in engine.step()] == [("a/0", "stop", None)]


def test_a_lost_device_is_nobodys_error(model: Pixtral, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise torch.AcceleratorError("device lost")

    engine = BatchEngine(model, eos_id=EOS, config=ROOMY)
    engine.submit(mixed_groups()[0])
    monkeypatch.setattr(model, "step", lost)
    with pytest.raises(torch.AcceleratorError):
        engine.step()


@pytest.mark.parametrize("what", ["step", "encode"])
def test_a_device_that_is_found_to_be_lost_is_nobodys_error(
    what: str, model: Pixtral, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuBLAS and Triton raise the same RuntimeError for it as for a request."""

    def fail(*_: object) -> None:
        raise RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED")

    def lost(device: torch.device) -> None:
        raise torch.AcceleratorError("device lost")

    monkeypatch.setattr(model, {"step": "step", "encode": "encode_images"}[what], fail)
    engine = BatchEngine(model, eos_id=EOS, config=ROOMY)
    engine.submit(mixed_groups()[0])
    for module in ("engine", "runner"):
        monkeypatch.setattr(f"model.engine.{module}.check_device", lost)
    with pytest.raises(torch.AcceleratorError):
        engine.step()


def test_a_model_of_nan_is_an_error() -> None:
    model = tiny_pixtral()
    model.norm.weight[3] = float("nan")
    done = batch(model, mixed_groups())
    assert all("not finite" in str(completion.error) for completion in done.values())


def test_submitted_is_pending_until_completed_or_aborted(model: Pixtral) -> None:
    engine = BatchEngine(model, eos_id=EOS, config=ROOMY)
    assert engine.submit(make_group("a", [], [(2, 3), (2, 3)])) == ["a/0", "a/1"]
    assert engine.submit(make_group("bad", [], [(2, 0)])) == ["bad/0"]
    assert engine.submit(replace(make_group("none", [], []))) == []
    assert engine.pending == 3
    with pytest.raises(ValueError, match="must be unique"):
        engine.submit(make_group("a", [], [(2, 3)]))
    with pytest.raises(ValueError, match="must be unique"):
        engine.submit(make_group("bad", [], [(2, 3)]))
    engine.abort("bad/0")
    engine.abort("a")
    assert engine.pending == 0
    assert engine.submit(make_group("half", [], [(2, 3), (2, 0)])) == ["half/0", "half/1"]
    assert engine.submit(make_group("whole", [(0, 2, 3)], [(2, 0)])) == ["whole/0"]
    assert engine.pending == 3
    engine.abort("half")
    engine.abort("whole")
    assert engine.pending == 0
    assert engine.step() == []
    assert_empty(engine)


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_what_streams_is_told_token_by_token(
    model: Pixtral, expected: dict[str, Completion], async_scheduling: bool
) -> None:
    """Each token once, but for the last ones, which are in the completion; also beside others, preempted."""
    groups = [
        replace(group, branches=[replace(branch, stream=group.id != "a") for branch in group.branches])
        for group in mixed_groups()
    ]
    roomy = configured(ROOMY, async_scheduling=async_scheduling)
    for config in (roomy, configured(roomy, block_size=1, cache_tokens=90, reserve=0.0)):
        engine = BatchEngine(model, eos_id=EOS, config=config)
        for group in groups:
            engine.submit(group)
        told: dict[str, list[int]] = {}
        logprobs: dict[str, list[float]] = {}
        done: dict[str, Completion] = {}
        steps = 0
        while engine.pending:
            done |= {completion.id: completion for completion in engine.step()}
            for one in engine.progress():
                steps += 1
                assert one.id not in done
                assert one.start == len(told.setdefault(one.id, []))
                told[one.id] += one.token_ids
                logprobs.setdefault(one.id, []).extend(one.logprobs)
        assert_equal(done, expected)
        assert steps > 20
        for id, ids in told.items():
            assert not id.startswith("a/")
            assert ids == done[id].token_ids[: len(ids)]
            assert logprobs[id] == done[id].logprobs[: len(ids)]
            assert len(ids) >= len(done[id].token_ids) - 1
        assert engine.progress() == []


def test_the_cache_is_sized_by_free_memory(model: Pixtral) -> None:
    engine = BatchEngine(model, eos_id=EOS)
    assert engine._scheduler.fits(10_000)
    with pytest.raises(ValueError, match="at least 1"):
        BatchEngine(model, eos_id=EOS, config=configured(ROOMY, cache_tokens=SIZE - 1))
