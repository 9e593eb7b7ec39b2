"""A model by itself, from Python: conversations with images in, answers out, at once or as they are written.

    chat = Chat.load("model/nano")
    messages = [{"role": "user", "content": ["What is the total?", Image.open("receipt.png")]}]
    print(chat.reply(messages).text)

A message has a role (system, user or assistant) and a content: text, or a list of texts and Pillow images in
any order. Parts may have OpenAI's form, too: {"type": "text", "text": ...}, {"type": "image", "image": ...}.
Several messages of one role may follow on each other. The engine is that of the jobs, and keeps what it has
computed: the next turn of a conversation costs its new tokens alone. Not for several threads at a time.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model import hub
from model.checkpoint import default_dtype, load_model
from model.checkpoint_files import check_checkpoint
from model.engine.config import EngineConfig
from model.engine.engine import BatchEngine
from model.engine.request import Branch, Completion, ContextLengthError, FinishReason, Group
from model.engine.sampling_params import SamplingParams
from model.network.image_grid import grid
from model.network.pixtral import Pixtral
from model.text.text_stream import TextStream, answer_text
from model.text.tokenizer import ImagePlaceholder, Message, Role, Text, Tokenizer

ROLES: tuple[Role, ...] = get_args(Role)
MAX_SIDE = 1024  # pixels, or what the model can

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer."""

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    """stop, length (`max_new_tokens` cut it) or repetition (it went round in a loop)."""
    confidence: float
    """The probability that the model gave to these tokens, at temperature 1."""
    prompt_tokens: int
    cached_tokens: int
    """Those of the prompt that had been computed before."""


class LongConversationError(ContextLengthError):
    """A conversation and its answer do not fit into the model's context."""

    def __init__(self, tokens: int, answer: int, context: int) -> None:
        """`answer`: the tokens that it may have."""
        self._tokens, self._answer, self._context = tokens, answer, context
        super().__init__(self.sentence("max_new_tokens", "max_side"))

    def sentence(self, limit: str, side: str) -> str:
        """What is wrong, and what helps, where the limits of the answer and of images have these names."""
        return (
            f"the conversation has {self._tokens:,} tokens and the answer may have {self._answer:,}, and the "
            f"model's context holds {self._context:,}: lower {limit}, show fewer images or smaller ones "
            f"({side}), or begin another conversation"
        )


class Chat:
    """A model that answers conversations."""

    def __init__(
        self,
        model: Pixtral,
        tokenizer: Tokenizer,
        *,
        max_side: int | None = None,
        config: EngineConfig | None = None,
    ) -> None:
        """`max_side` is the longest edge in pixels at which the model sees an image."""
        self._vision = model.config.vision
        context = model.config.max_position_embeddings
        self.context = min(context, (config and config.max_model_len) or context)
        """Tokens of a conversation and its answer together, at most."""
        self._tokenizer = tokenizer
        self._max_side = max_side or min(MAX_SIDE, self._vision.image_size)
        self._engine = BatchEngine(
            model, eos_id=tokenizer.eos, token_bytes=tokenizer.token_bytes, config=config
        )
        self._names = count()
        self._finished: dict[str, Completion] = {}  # while another answer was read

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        max_side: int | None = None,
        config: EngineConfig | None = None,
    ) -> "Chat":
        """The model of a checkpoint's folder, or of a name on the hub, on a GPU if there is one.

        Raises ValueError.
        """
        named = hub.is_hub_name(str(folder))
        folder = hub.find(str(folder)).folder() if named else Path(folder).expanduser()
        shape = check_checkpoint(folder)
        tokenizer = Tokenizer.from_file(folder / "tekken.json", shape.vocab_size)
        there = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model = load_model(folder, device=there, dtype=dtype or default_dtype(there))
        return cls(model, tokenizer, max_side=max_side, config=config)

    def reply(self, messages: Messages, **options: Any) -> Reply:
        """The answer to a conversation; `options` are those of `stream`. Raises ValueError."""
        name = self._submit(messages, **options)
        while name not in self._finished:
            self._step()
        return self._reply(self._finished.pop(name))

    def stream(self, messages: Messages, **options: Any) -> Generator[str, None, Reply]:
        """The text of the answer, piece by piece, as it is written; the generator returns the `Reply`.

        Options: `max_new_tokens` (512), after which it is cut; `temperature` (0: the likeliest tokens),
        `top_p` (1.0) and `seed` (0) of the draws; `stop`, texts before which it ends. Raises ValueError for a
        conversation or an option that the model cannot take.
        """
        return self._texts(self.follow(messages, **options))

    def follow(self, messages: Messages, **options: Any) -> Generator[str, None, Reply]:
        """As `stream`, with a piece for each step of the engine, empty where no text came of it.

        So the caller may end the answer soon, by `close`, also while a long prompt is read.
        """
        return self._stream(self._submit(messages, **options), options.get("stop", ()))

    def prompt(self, messages: Messages) -> tuple[list[int], list[NDArray[np.uint8]]]:
        """The token ids of a conversation, and its images, as the engine is given them. Raises ValueError."""
        images: list[NDArray[np.uint8]] = []
        said = [self._message(message, number, images) for number, message in enumerate(messages, 1)]
        if not said or said[-1].role == "assistant":
            raise ValueError("the last message is not the user's: there is nothing to answer")
        return self._tokenizer.encode_conversation(said), images

    def _submit(
        self,
        messages: Messages,
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> str:
        ids, images = self.prompt(messages)
        if len(ids) + max_new_tokens > self.context:
            raise LongConversationError(len(ids), max_new_tokens, self.context)
        end = self._tokenizer.img_end
        cut = len(ids) - ids[::-1].index(end) if end in ids else len(ids) - 1
        name = str(next(self._names))
        branch = Branch(
            id=name,
            ids=ids[cut:],
            max_new_tokens=max_new_tokens,
            sampling=SamplingParams(temperature=temperature, top_p=top_p, seed=seed),
            stop=(stop,) if isinstance(stop, str) else stop,
        )
        self._engine.submit(
            Group(id=name, prefix_ids=ids[:cut], images=images, branches=[branch], max_side=self._max_side)
        )
        return name

    def _message(self, message: Mapping[str, Any], number: int, images: list[NDArray[np.uint8]]) -> Message:
        content = message.get("content")
        role: Role | None = next((role for role in ROLES if role == message.get("role")), None)
        if role is None:
            known = ", ".join(ROLES)
            raise ValueError(f"message {number} has the role {message.get('role')!r}; known are {known}")
        parts = [content] if isinstance(content, str) else content
        if not isinstance(parts, list | tuple):
            raise ValueError(f"the content of message {number} is neither text nor a list of parts")
        return Message(role, tuple(self._part(part, number, images) for part in parts))

    def _part(self, part: Any, number: int, images: list[NDArray[np.uint8]]) -> Text | ImagePlaceholder:
        if isinstance(part, Mapping) and part.get("type") in ("text", "image"):
            part = part.get(part["type"])
        if isinstance(part, str):
            return Text(part)
        if not isinstance(part, Image.Image):
            raise ValueError(
                f"a part of message {number} is neither text nor an image of Pillow: {part!r:.60}; open an "
                "image with PIL.Image.open"
            )
        images.append(np.asarray(_on_white(part)))
        height, width = images[-1].shape[:2]
        return ImagePlaceholder(
            *grid(height, width, max_side=self._max_side, patch_size=self._vision.patch_size)
        )

    def _texts(self, pieces: Generator[str, None, Reply]) -> Generator[str, None, Reply]:
        """The pieces that are text."""
        try:
            while True:
                if piece := next(pieces):
                    yield piece
        except StopIteration as end:
            reply: Reply = end.value
            return reply
        finally:
            pieces.close()

    def _stream(self, name: str, stop: Sequence[str]) -> Generator[str, None, Reply]:
        pieces = TextStream(self._tokenizer.token_bytes, (stop,) if isinstance(stop, str) else stop)
        try:
            while name not in self._finished:
                yield pieces.take(self._engine.written(name))
                self._step()
            reply = self._reply(self._finished.pop(name))
        finally:
            self._engine.abort(name)  # nobody reads on
        if piece := pieces.rest(reply.text):
            yield piece
        return reply

    def _step(self) -> None:
        self._finished |= {completion.id: completion for completion in self._engine.step()}

    def _reply(self, completion: Completion) -> Reply:
        if completion.finish_reason == "error":
            raise ValueError(completion.error)
        token_bytes = self._tokenizer.token_bytes
        return Reply(
            text=answer_text(token_bytes, completion.token_ids, completion.stopped_at),
            token_ids=completion.token_ids,
            finish_reason=completion.finish_reason,
            confidence=min(1.0, math.exp(math.fsum(completion.logprobs))),
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
        )


def _on_white(image: Image.Image) -> Image.Image:
    """RGB as in mistral_common: what is transparent becomes white."""
    if image.mode == "RGB":
        return image
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "WHITE")
    white.paste(rgba, (0, 0), rgba)
    return white.convert("RGB")
