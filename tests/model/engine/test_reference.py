import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.engine.reference import ReferenceEngine
from model.engine.request import Branch, Completion, Group
from model.network.pixtral import Pixtral
from model.network.preprocess import to_pixels
from model.text.grammar import Grammars
from model.text.tokenizer import Tokenizer
from tests.model.tiny import image_ids, tiny_pixtral

EOS = 2
PREFIX = [1, 3, *image_ids(2, 3), 20, *image_ids(3, 1)]
QUESTIONS = [[30, 31, 4], [32, 4], [33, 34, 35, 36, 4], [4]]


@pytest.fixture(scope="module")
def model() -> Pixtral:
    return tiny_pixtral(dtype=torch.float64)


def images() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    # The first is off the grid and the second shrinks; 32 x 48 and 48 x 16 pixels at max_side 48.
    return [generator.integers(0, 256, size, dtype=np.uint8) for size in ((25, 40, 3), (90, 20, 3))]


def group(name: str = "g", questions: list[list[int]] | None = None, tokens: int = 6) -> Group:
    branches = [
        Branch(id=f"{name}/{number}", ids=ids, max_new_tokens=tokens)
        for number, ids in enumerate(questions or QUESTIONS)
    ]
    return Group(id=name, prefix_ids=PREFIX, images=images(), branches=branches, max_side=48)


def run(engine: ReferenceEngine) -> dict[str, Completion]:
    done: dict[str, Completion] = {}
    while engine.pending:
        for completion in engine.step():
            assert completion.id not in done
            done[completion.id] = completion
    return done


def answer_without_cache(model: Pixtral, question: list[int], tokens: int) -> tuple[list[int], list[float]]:
    """Everything computed anew for every token."""
    sizes = [(32, 48), (48, 16)]
    pixels = [
        to_pixels(image, *size, dtype=torch.float64) for image, size in zip(images(), sizes, strict=True)
    ]
    written: list[int] = []
    logprobs: list[float] = []
    for _ in range(tokens):
        prompt_TD = model.embed(torch.tensor(PREFIX + question), model.encode_images(pixels))
        written_TD = model.tok_embeddings(torch.tensor(written, dtype=torch.int64))
        logits = model(torch.cat((prompt_TD, written_TD)), [len(prompt_TD) + len(written)])[-1]
        token = int(logits.argmax())
        if token == EOS:
            break
        logprobs.append(float(logits.log_softmax(-1)[token]))
        written.append(token)
    return written, logprobs


def test_prefix_shared_and_cached_equals_everything_computed_anew(model: Pixtral) -> None:
    engine = ReferenceEngine(model, eos_id=EOS)
    engine.submit(group())
    done = run(engine)
    written = []
    for number, question in enumerate(QUESTIONS):
        expected_ids, expected_logprobs = answer_without_cache(model, question, 6)
        completion = done[f"g/{number}"]
        assert completion.token_ids == expected_ids
        np.testing.assert_allclose(completion.logprobs, expected_logprobs, atol=1e-10)
        assert completion.prompt_tokens == len(PREFIX) + len(question)
        assert completion.cached_tokens == (len(PREFIX) if number else 0)
        assert completion.error is None
        written.append(expected_ids)
    assert len({tuple(ids) for ids in written}) > 1  # the questions matter to this model


def test_the_order_and_company_of_questions_change_nothing(model: Pixtral) -> None:
    together = ReferenceEngine(model, eos_id=EOS)
    together.submit(group())
    answers = run(together)
    for number, question in enumerate(QUESTIONS):
        alone = ReferenceEngine(model, eos_id=EOS)
        alone.submit(group(questions=[question]))
        completion = run(alone)["g/0"]
        assert completion.token_ids == answers[f"g/{number}"].token_ids
        np.testing.assert_allclose(completion.logprobs, answers[f"g/{number}"].logprobs, atol=1e-10)


def test_decoding_stops_at_the_end_of_sequence_and_leaves_it_out(model: Pixtral) -> None:
    expected, _ = answer_without_cache(model, QUESTIONS[0], 6)
    stop = expected[3]
    engine = ReferenceEngine(model, eos_id=stop)
    engine.submit(group(questions=QUESTIONS[:1]))
    completion = run(engine)["g/0"]
    assert completion.finish_reason == "stop"
    assert completion.token_ids == expected[: expected.index(stop)]
    assert len(completion.logprobs) == len(completion.token_ids)


def test_decoding_stops_at_its_length(model: Pixtral) -> None:
    engine = ReferenceEngine(model, eos_id=-1)
    engine.submit(group(tokens=3))
    done = run(engine).values()
    assert {(completion.finish_reason, len(completion.token_ids)) for completion in done} == {("length", 3)}


def test_a_group_without_images_or_prefix_is_answered(model: Pixtral) -> None:
    engine = ReferenceEngine(model, eos_id=-1)
    for name, prefix, ids in (("split", [1, 3, 30], [31, 4]), ("whole", [], [1, 3, 30, 31, 4])):
        branch = Branch(id=name, ids=ids, max_new_tokens=4)
        engine.submit(Group(id=name, prefix_ids=prefix, images=[], branches=[branch], max_side=48))
    done = run(engine)
    assert done["split"].token_ids == done["whole"].token_ids
    assert done["split"].prompt_tokens == done["whole"].prompt_tokens == 5


BAD_GROUPS: dict[str, dict[str, Any]] = {
    "image tokens are not those of 1 images": {"images": images()[:1]},
    "image tokens are not those of 2 images": {"images": images()[::-1]},
    "image tokens are not those of 0 images": {"images": []},
    "expected uint8": {"images": [image.astype(np.float32) for image in images()]},
    r"expected uint8 \(height, width, 3\)": {"images": [image[..., 0] for image in images()]},
    "above the model's image_size, 128": {"max_side": 256},
    "at least one patch": {"max_side": 8},
    "token ids are 0 to 63": {"prefix_ids": [1, 3, 64]},
}


@pytest.mark.parametrize("message", list(BAD_GROUPS))
def test_a_bad_group_is_an_error_and_the_next_is_answered(model: Pixtral, message: str) -> None:
    engine = ReferenceEngine(model, eos_id=EOS)
    engine.submit(replace(group("bad"), **BAD_GROUPS[message]))
    engine.submit(group("good"))
    done = run(engine)
    assert len(done) == 8
    for number in range(4):
        bad = done[f"bad/{number}"]
        assert bad.finish_reason == "error"
        assert (bad.token_ids, bad.logprobs) == ([], [])
        with pytest.raises(ValueError, match=message):
            raise ValueError(bad.error)
        assert done[f"good/{number}"].finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        (Branch(id="bad", ids=[], max_new_tokens=4), "ids is empty"),
        (Branch(id="bad", ids=[10, 4], max_new_tokens=4), "holds an image token"),
        (Branch(id="bad", ids=[-1, 4], max_new_tokens=4), "token ids are 0 to 63"),
        (Branch(id="bad", ids=[30, 4], max_new_tokens=0), "must be at least 1"),
        (Branch(id="bad", ids=[30] * 127_900, max_new_tokens=99), "ContextLengthError: the prompt has 127,9"),
        (Branch(id="bad", ids=[30, 4], max_new_tokens=128_000), "the answer may have 128,000"),
    ],
)
def test_a_bad_branch_leaves_the_others_of_its_group(model: Pixtral, branch: Branch, message: str) -> None:
    engine = ReferenceEngine(model, eos_id=EOS)
    good = group()
    engine.submit(replace(good, branches=[branch, *good.branches]))
    done = run(engine)
    assert done["bad"].finish_reason == "error"
    assert message in str(done["bad"].error)
    assert done["g/0"].token_ids == answer_without_cache(model, QUESTIONS[0], 6)[0]


def test_what_torch_cannot_compute_is_an_error(model: Pixtral, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ReferenceEngine(model, eos_id=EOS)
    engine.submit(group(questions=QUESTIONS[:2]))

    def run_out(*_: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 40 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(model, "encode_images", run_out)
        (failed,) = engine.step()
    assert failed.finish_reason == "error"
    assert failed.error == "OutOfMemoryError: tried to allocate 40 GiB"
    (answered,) = engine.step()
    assert answered.finish_reason in ("stop", "length")


def test_a_model_of_nan_is_an_error() -> None:
    model = tiny_pixtral()
    model.norm.weight[3] = float("nan")
    engine = ReferenceEngine(model, eos_id=EOS)
    engine.submit(group(questions=QUESTIONS[:1]))
    assert "not finite" in str(run(engine)["g/0"].error)


def test_a_model_may_write_an_image_token(model: Pixtral) -> None:
    """It is text then, and the next token follows from its own embedding."""
    expected, _ = answer_without_cache(model, QUESTIONS[0], 6)
    assert model.config.vision.image_token_id in expected[:-1]
    engine = ReferenceEngine(model, eos_id=EOS)
    engine.submit(group(questions=QUESTIONS[:1]))
    assert run(engine)["g/0"].token_ids == expected


def test_aborted_branches_and_groups_are_not_answered(model: Pixtral) -> None:
    engine = ReferenceEngine(model, eos_id=EOS)
    assert engine.submit(group("a")) == ["a/0", "a/1", "a/2", "a/3"]
    engine.submit(group("b"))
    assert engine.pending == 8
    engine.abort("a/1")
    engine.abort("b")
    engine.abort("finished long ago")
    assert engine.pending == 3
    assert sorted(run(engine)) == ["a/0", "a/2", "a/3"]
    assert engine.step() == []


def test_ids_must_be_unique_among_those_pending(model: Pixtral) -> None:
    engine = ReferenceEngine(model, eos_id=EOS)
    engine.submit(group("a", questions=QUESTIONS[:1]))
    with pytest.raises(ValueError, match="must be unique"):
        engine.submit(group("a"))
    run(engine)
    assert engine.submit(group("a", questions=QUESTIONS[:1])) == ["a/0"]
    assert engine.submit(group("empty", questions=[[4]])) == ["empty/0"]


NANO = Tokenizer.from_file(Path("model/nano/tekken.json"))
NAME = {"anyOf": [{"type": "string", "maxLength": 12}, {"type": "null"}]}
SCHEMA = {
    "type": "object",
    "properties": {
        "name": NAME,
        "day": {"type": "string", "format": "date"},
        "parts": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 999}, "maxItems": 3},
    },
    "required": ["name", "day", "parts"],
    "additionalProperties": False,
}
GRAMMAR = json.dumps(SCHEMA)


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(NANO)


@pytest.fixture(scope="module")
def writer() -> Pixtral:
    return tiny_pixtral(dtype=torch.float64, vocab_size=NANO.vocab_size)


def asked(*branches: Branch) -> Group:
    return Group(id="g", prefix_ids=[1, 3], images=[], branches=branches, max_side=48)


def constrained(name: str, ids: list[int], tokens: int = 100, grammar: str = GRAMMAR) -> Branch:
    return Branch(id=name, ids=ids, max_new_tokens=tokens, grammar=grammar)


def test_under_a_grammar_the_best_allowed_token_is_chosen_and_its_own_logprob_kept(
    writer: Pixtral, grammars: Grammars
) -> None:
    engine = ReferenceEngine(writer, eos_id=NANO.eos, grammars=grammars)
    engine.submit(asked(*(constrained(str(start), [start, 4]) for start in range(1500, 1504))))
    texts = set()
    for name, completion in run(engine).items():
        prompt = [1, 3, int(name), 4]
        ids_T = torch.tensor(prompt + completion.token_ids)
        logprobs_TV = writer(writer.tok_embeddings(ids_T), [len(ids_T)]).log_softmax(-1)[len(prompt) - 1 :]
        matcher, masks = grammars.matcher(GRAMMAR), grammars.new_masks(1)
        for step, token in enumerate(completion.token_ids):
            matcher.fill(masks[0])
            allowed = np.flatnonzero(np.unpackbits(masks.view(np.uint8), bitorder="little"))
            assert token == allowed[int(logprobs_TV[step][torch.from_numpy(allowed)].argmax())]
            assert completion.logprobs[step] == pytest.approx(float(logprobs_TV[step, token]), abs=1e-10)
            matcher.accept(token)
        assert completion.finish_reason == "stop"
        texts.add(NANO.decode(completion.token_ids))
    assert len(texts) > 1
    assert all(list(json.loads(text)) == ["name", "day", "parts"] for text in texts)


def test_whole_json_is_never_cut_and_a_cut_is_length(writer: Pixtral, grammars: Grammars) -> None:
    engine = ReferenceEngine(writer, eos_id=NANO.eos, grammars=grammars)
    engine.submit(asked(constrained("whole", [1500, 4])))
    whole = run(engine)["whole"]
    size = len(whole.token_ids)
    engine.submit(asked(constrained("fits", [1500, 4], size), constrained("cut", [1500, 4], size - 1)))
    done = run(engine)
    assert (done["fits"].finish_reason, done["fits"].token_ids) == ("stop", whole.token_ids)
    assert (done["cut"].finish_reason, done["cut"].token_ids) == ("length", whole.token_ids[:-1])


def test_free_questions_beside_constrained_ones_are_answered_as_alone(
    writer: Pixtral, grammars: Grammars
) -> None:
    free = Branch(id="free", ids=[1500, 4], max_new_tokens=8)
    alone = ReferenceEngine(writer, eos_id=NANO.eos)
    alone.submit(asked(free))
    beside = ReferenceEngine(writer, eos_id=NANO.eos, grammars=grammars)
    beside.submit(asked(constrained("one", [1500, 4]), free, constrained("other", [1500, 4])))
    done = run(beside)
    assert done["free"].token_ids == run(alone)["free"].token_ids
    assert done["one"].token_ids == done["other"].token_ids != done["free"].token_ids


def test_the_end_may_be_chosen_where_the_json_could_go_on(grammars: Grammars) -> None:
    model = tiny_pixtral(dtype=torch.float64, vocab_size=NANO.vocab_size)
    digits = NANO.encode("7")
    model.output.weight.data[NANO.eos] = 2 * model.output.weight.data[digits[0]]  # positive where "7" is
    engine = ReferenceEngine(model, eos_id=NANO.eos, grammars=grammars)
    engine.submit(asked(constrained("n", [1500, 4], grammar='{"type": "integer", "minimum": 0}')))
    done = run(engine)["n"]
    assert done.finish_reason == "stop"
    assert NANO.decode(done.token_ids).isdecimal()
    assert len(done.token_ids) < 5


def test_where_no_token_can_follow_it_says_so(
    writer: Pixtral, grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.text.grammar.to_lark", lambda _: 'start: "x" NONE\nNONE: /a/ & /b/')
    engine = ReferenceEngine(writer, eos_id=NANO.eos, grammars=grammars)
    engine.submit(asked(constrained("dead", [1500, 4], grammar="{}")))
    done = run(engine)["dead"]
    assert (done.finish_reason, NANO.decode(done.token_ids)) == ("grammar", "x")
    assert done.error


def test_a_grammar_that_cannot_be_used_is_an_error_of_its_own(writer: Pixtral, grammars: Grammars) -> None:
    engine = ReferenceEngine(writer, eos_id=NANO.eos, grammars=grammars)
    engine.submit(
        asked(constrained("bad", [1500, 4], grammar='{"type": "uri"}'), constrained("ok", [1500, 4]))
    )
    done = run(engine)
    assert (done["bad"].finish_reason, done["ok"].finish_reason) == ("error", "stop")
    assert "the type 'uri'" in str(done["bad"].error)
    without = ReferenceEngine(writer, eos_id=NANO.eos)
    without.submit(asked(constrained("no", [1500, 4])))
    assert "made without grammars" in str(run(without)["no"].error)
    with pytest.raises(ValueError, match="over 3048 tokens, the model has 64"):
        ReferenceEngine(tiny_pixtral(), eos_id=NANO.eos, grammars=grammars)
