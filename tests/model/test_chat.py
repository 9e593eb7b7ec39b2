"""The model by itself: it is given what mistral_common gives it, and says what the plain engine says."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from PIL import Image

from model.chat import Chat, Reply
from model.checkpoint import load_model
from model.engine.config import EngineConfig
from model.engine.reference import ReferenceEngine
from model.engine.request import Branch, Group
from model.engine.sampling_params import SamplingParams
from model.executor.factory import ExecutorConfig
from model.text.tokenizer import Tokenizer

NANO = Path("model/nano")
REFERENCE: Any = MistralTokenizer.from_file(str(NANO / "tekken.json"), mode=ValidationMode.agnostic)
SMALL = EngineConfig(executor=ExecutorConfig(cache_tokens=16_384))
Messages = list[dict[str, Any]]


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat.load(NANO, device="cpu", dtype=torch.float32, config=SMALL)


@pytest.fixture(scope="module")
def by_hand() -> ReferenceEngine:
    tokenizer = Tokenizer.from_file(NANO / "tekken.json")
    model = load_model(NANO, device="cpu", dtype=torch.float32)
    return ReferenceEngine(model, eos_id=tokenizer.eos, token_bytes=tokenizer.token_bytes)


def sample(name: str, side: int = 400) -> Image.Image:
    image = Image.open(f"samples/documents/{name}").convert("RGB")
    image.thumbnail((side, side))
    return image


# As the model card has them: a question about one image; then three images, four messages, and two of the
# user in a row.
SIMPLE: Messages = [
    {"role": "user", "content": ["What is the name of the store?", sample("receipt.png", 1024)]}
]
ADVANCED: Messages = [
    {
        "role": "user",
        "content": [
            "Which of the two has the higher total?",
            sample("receipt.png"),
            sample("costs_chart.webp"),
        ],
    },
    {"role": "assistant", "content": "The one on the second picture."},
    {"role": "user", "content": ["And this one?", sample("visitors_chart.png")]},
    {"role": "user", "content": "Name its highest category."},
]


def reference_request(messages: Messages) -> Any:
    kinds = {"system": SystemMessage, "user": UserMessage, "assistant": AssistantMessage}
    said: list[Any] = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            content = [
                TextChunk(text=part) if isinstance(part, str) else ImageChunk(image=part) for part in content
            ]
        said.append(kinds[message["role"]](content=content))
    return ChatCompletionRequest(messages=said)


def generate(
    engine: ReferenceEngine, tokens: list[int], images: list[Image.Image], **options: Any
) -> tuple[list[int], str]:
    """Token ids and images in, token ids and why they end out: what mistral-inference calls `generate`."""
    end = REFERENCE.instruct_tokenizer.image_encoder.special_ids.img_end
    cut = len(tokens) - tokens[::-1].index(end) if end in tokens else len(tokens) - 1
    branch = Branch(id="b", ids=tokens[cut:], **options)
    pixels = [np.asarray(image) for image in images]
    engine.submit(Group(id="g", prefix_ids=tokens[:cut], images=pixels, branches=[branch], max_side=1024))
    (done,) = engine.step()
    return done.token_ids, done.finish_reason


@pytest.mark.parametrize("messages", [SIMPLE, ADVANCED], ids=["simple", "advanced"])
def test_the_examples_of_the_model_card(messages: Messages, chat: Chat, by_hand: ReferenceEngine) -> None:
    given = REFERENCE.encode_chat_completion(reference_request(messages))
    images = [part for message in messages for part in message["content"] if isinstance(part, Image.Image)]
    ids, pixels = chat.prompt(messages)
    assert ids == given.tokens
    assert [image.shape[:2] for image in pixels] == [(image.height, image.width) for image in images]
    reply = chat.reply(messages, max_new_tokens=12)
    written, reason = generate(by_hand, given.tokens, images, max_new_tokens=12)
    assert (reply.token_ids, reply.finish_reason) == (written, reason)
    assert reply.text == REFERENCE.decode(written)
    assert reply.prompt_tokens == len(given.tokens)
    assert 0 < reply.confidence <= 1
    if messages is SIMPLE:
        assert "Bakery" in reply.text


def test_the_python_of_mistral_inference(chat: Chat, by_hand: ReferenceEngine) -> None:
    """Load tokenizer and model, encode a request of mistral_common's, generate at a temperature, decode."""
    image, question = sample("visitors_chart.png", 600), "Which category has the highest value?"
    request = ChatCompletionRequest(
        messages=[UserMessage(content=[ImageChunk(image=image), TextChunk(text=question)])]
    )
    encoded = REFERENCE.encode_chat_completion(request)
    sampling = SamplingParams(temperature=0.35, seed=3)
    written, _ = generate(by_hand, encoded.tokens, [image], max_new_tokens=16, sampling=sampling)
    result = REFERENCE.decode(written)
    messages = [{"role": "user", "content": [image, question]}]
    assert chat.reply(messages, max_new_tokens=16, temperature=0.35, seed=3).text == result


def read(stream: Generator[str, None, Reply]) -> tuple[list[str], Reply]:
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 4}, {"stop": ["\n", "ak"]}], ids=str)
def test_a_stream_is_the_answer_in_pieces(chat: Chat, options: dict[str, Any]) -> None:
    whole = chat.reply(SIMPLE, max_new_tokens=24, **options)
    pieces, reply = read(chat.stream(SIMPLE, max_new_tokens=24, **options))
    assert "".join(pieces) == reply.text == whole.text
    assert reply.token_ids == whole.token_ids
    assert len(pieces) > 1
    assert all(pieces)
    assert not any(stop in whole.text for stop in options.get("stop", ()))


def test_the_next_turn_costs_its_new_tokens(chat: Chat) -> None:
    first = chat.reply(SIMPLE, max_new_tokens=8)
    more: Messages = [
        *SIMPLE,
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "What is the total?"},
    ]
    second = chat.reply(more, max_new_tokens=8)
    assert second.cached_tokens > 0.8 * first.prompt_tokens
    assert second.prompt_tokens > first.prompt_tokens


def test_a_stream_may_be_left_and_others_read_amid_it(chat: Chat) -> None:
    plain: Messages = [{"role": "user", "content": "Who are you?"}]
    expected = [chat.reply(messages, max_new_tokens=8).text for messages in (SIMPLE, plain)]
    stream, left = chat.stream(SIMPLE, max_new_tokens=8), chat.stream(ADVANCED, max_new_tokens=8)
    pieces = [next(stream)]
    next(left)
    left.close()
    assert chat.reply(plain, max_new_tokens=8).text == expected[1]
    assert "".join([*pieces, *stream]) == expected[0]
    assert chat._engine.pending == 0


def test_parts_may_have_openai_s_form_and_images_any_mode(chat: Chat) -> None:
    image = sample("receipt.png", 100)
    clear = image.convert("RGBA")
    clear.putalpha(128)
    content = [{"type": "text", "text": "Who?"}, {"type": "image", "image": image}]
    ids, (pixels,) = chat.prompt([{"role": "user", "content": content}])
    assert ids == chat.prompt([{"role": "user", "content": ("Who?", image)}])[0]
    assert np.array_equal(pixels, np.asarray(image))
    for mode, other in (("L", image.convert("L")), ("P", image.convert("P")), ("RGBA", clear)):
        assert other.mode == mode
        _, (found,) = chat.prompt([{"role": "user", "content": ["Who?", other]}])
        given = REFERENCE.encode_chat_completion(
            reference_request([{"role": "user", "content": ["Who?", other]}])
        )
        assert found.shape == pixels.shape
        assert given.images[0].shape[0] == 3
    assert found.mean() > pixels.mean(), "white shows through"


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "there is nothing to answer"),
        ([{"role": "assistant", "content": "Hello."}], "there is nothing to answer"),
        (
            [{"role": "tool", "content": "x"}],
            "message 1 has the role 'tool'; known are system, user, assistant",
        ),
        ([{"role": "user", "content": 3}], "neither text nor a list of parts"),
        ([{"role": "user", "content": [b"x"]}], r"neither text nor an image of Pillow: b'x'; open an image"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]}],
            "open an image with",
        ),
        (
            [{"role": "system", "content": [Image.new("RGB", (9, 9))]}, {"role": "user", "content": "x"}],
            "only the user's messages can",
        ),
    ],
)
def test_what_is_no_conversation_is_refused_at_once(chat: Chat, messages: Messages, message: str) -> None:
    for ask in (chat.reply, chat.stream):
        with pytest.raises(ValueError, match=message):
            ask(messages)


@pytest.mark.parametrize(
    "options", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 2}, {"stop": [""]}]
)
def test_options_that_make_no_sense_are_refused(chat: Chat, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is -?\d|is empty"):
        chat.reply(SIMPLE, **options)
    assert chat._engine.pending == 0


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="params"):
        Chat.load(tmp_path)


@pytest.mark.gpu
def test_a_gpu_says_the_same() -> None:
    there = Chat.load(NANO, dtype=torch.float32, config=SMALL)
    assert there._engine._like.is_cuda
    here = Chat.load(NANO, device="cpu", dtype=torch.float32, config=SMALL)
    ask: Callable[[Chat], str] = lambda chat: chat.reply(SIMPLE, max_new_tokens=12).text  # noqa: E731 - twice
    assert ask(there) == ask(here)
    pieces, reply = read(there.stream(ADVANCED, max_new_tokens=12))
    assert "".join(pieces) == reply.text


def test_what_exceeds_the_context_is_said_in_the_words_of_the_caller(chat: Chat) -> None:
    with pytest.raises(
        ValueError, match=r"may have 127,999, and the model's .*lower max_new_tokens"
    ) as caught:
        chat.reply([{"role": "user", "content": "Hello"}], max_new_tokens=127_999)
    assert "--" not in str(caught.value)


def test_an_answer_is_followed_step_by_step_and_can_be_left(chat: Chat) -> None:
    pieces = list(chat.stream(SIMPLE, max_new_tokens=8))
    steps = list(chat.follow(SIMPLE, max_new_tokens=8))
    assert "".join(steps) == "".join(pieces)
    assert "" in steps
    assert "" not in pieces
    left = chat.follow(ADVANCED, max_new_tokens=100)
    assert next(left) == ""  # before the prompt is read
    left.close()
    assert chat._engine.pending == 0
