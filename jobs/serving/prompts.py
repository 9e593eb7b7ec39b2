"""Requests become prompt groups: messages, their images and their tokens, or a text and its tokens.

In: a request, and the bytes of the images that were fetched for it. Out: groups for the engine. This runs in
threads beside the event loop. Images are decoded in a sandbox, as documents are in a run: the server opens
none itself. What cannot be asked is an ApiError 400.
"""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from queue import SimpleQueue
from typing import Any

import numpy as np

from jobs.serving.errors import ApiError, refused
from jobs.serving.requests import AnyRequest, ChatRequest, CompletionRequest
from model.engine.request import Branch, Group
from model.engine.sampling_params import SamplingParams
from model.text.grammar import check_schema
from model.text.tokenizer import Tokenizer, UnencodableError
from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.messages import Image, Turn, read_messages
from pipeline.ingest.reading import read_named
from pipeline.plan.keys import item_seed
from pipeline.plan.plan import Plan
from pipeline.plan.prompts import chat, tokenize
from pipeline.rasterize.pages import Page, draw_images, placeholders
from pipeline.rasterize.sandbox import Sandbox
from schemas.columns import struct
from schemas.json_schema_model import model_of_schema, safe_name
from schemas.json_text import read_json

DEFAULT_TOKENS = 1024  # of an answer whose request names no limit
MAX_SCHEMA = 2**17  # characters of a JSON schema
NAME = "messages"
ANY_OBJECT = json.dumps({"type": "object"})
# Fields of messages that clients send with values that say nothing.
_EMPTY: Mapping[str, Sequence[object]] = {
    "tool_calls": ([],),
    "prefix": (False,),
    "annotations": ([],),
    "audio": (None,),
    "refusal": ("",),
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may ask for."""

    context: int
    """Tokens of prompt and answer together."""
    images: int
    """Of one request."""


class Prompts:
    """Makes the groups of one model. Several threads may be in here."""

    def __init__(self, plan: Plan, tokenizer: Tokenizer, limits: Limits, *, sandboxes: int) -> None:
        """So many images are decoded at a time, each in a process of its own."""
        self._plan = plan
        self._tokenizer = tokenizer
        self._limits = limits
        self._sandboxes: SimpleQueue[Sandbox] = SimpleQueue()
        for _ in range(sandboxes):
            self._sandboxes.put(Sandbox(plan.limits))
        self._count = sandboxes

    def close(self) -> None:
        """Ends the processes that decode images, once they are done."""
        for _ in range(self._count):
            self._sandboxes.get().close()

    def turns(self, request: ChatRequest) -> list[Turn]:
        """The messages. Raises ApiError 400."""
        with _explained(NAME):
            turns = read_messages(list(map(_plain, request.messages)), NAME)
        images = len(addresses(turns))
        if images > self._limits.images:
            message = f"the messages have {images} images, and the limit is {self._limits.images}"
            raise refused(message, NAME, "too_many_images")
        return turns

    def chat(
        self, name: str, request: ChatRequest, turns: Sequence[Turn], fetched: Mapping[str, bytes]
    ) -> Group:
        """The group of a conversation; `fetched` are the images at http(s) addresses."""
        grammar = _grammar(request)
        with _explained(NAME):
            pages = self._draw(turns, fetched)
            prompt = tokenize(self._tokenizer, [chat(turns, placeholders(pages, self._plan), None)])
        images = [np.frombuffer(page.pixels, np.uint8).reshape(page.height, page.width, 3) for page in pages]
        return self._group(name, request, prompt.prefix, prompt.branches[0], images, grammar)

    def completions(self, name: str, request: CompletionRequest) -> list[Group]:
        """A group for each prompt."""
        return [
            self._group(f"{name}-{number}", request, ids[:-1], ids[-1:], [], None)
            for number, ids in enumerate(self._texts(request.prompt))
        ]

    def _draw(self, turns: Sequence[Turn], fetched: Mapping[str, bytes]) -> list[Page]:
        def read(address: str, which: str) -> bytes:
            return fetched[address] if address in fetched else read_named(address, which, roots=())

        if not addresses(turns):
            return []
        sandbox = self._sandboxes.get()
        try:
            return draw_images(turns, NAME, read, sandbox, self._plan)
        finally:
            self._sandboxes.put(sandbox)

    def _texts(self, prompt: str | list[str] | list[int] | list[list[int]]) -> Iterator[list[int]]:
        """The tokens of each prompt; one that comes as tokens is taken as it is."""
        several: list[Any] = [prompt] if isinstance(prompt, str) or _are_ids(prompt) else list(prompt)
        if not several:
            raise refused("prompt is empty", "prompt")
        for one in several:
            with _explained("prompt"):
                ids = [self._tokenizer.bos, *self._tokenizer.encode(one)] if isinstance(one, str) else one
            if not ids:
                raise refused("prompt is empty", "prompt")
            size = self._plan.vocab_size
            if outside := [id for id in ids if not 0 <= id < size]:
                raise refused(f"prompt holds {outside[0]}: token ids are 0 to {size - 1}", "prompt")
            images = {self._tokenizer.img, self._tokenizer.img_break, self._tokenizer.img_end}
            if not images.isdisjoint(ids):
                raise refused("prompt holds tokens of an image: send images to chat/completions", "prompt")
            yield ids

    def _group(
        self,
        name: str,
        request: AnyRequest,
        prefix: list[int],
        ids: list[int],
        images: list[np.ndarray],
        grammar: str | None,
    ) -> Group:
        tokens, context = len(prefix) + len(ids), self._limits.context
        limit = request.limit or max(1, min(DEFAULT_TOKENS, context - tokens))
        if tokens + limit > context:
            raise refused(
                f"the prompt has {tokens:,} tokens and the answer may have {limit:,}, and the context holds "
                f"{context:,}: ask in fewer words, with fewer or smaller images, or lower max_tokens",
                "max_tokens" if tokens < context else None,
                "context_length_exceeded",
            )
        seed = request.random_seed if request.seed is None else request.seed
        seed = secrets.randbits(63) if seed is None else seed
        branches = [
            Branch(
                id=f"{name}.{number}",
                ids=ids,
                max_new_tokens=limit,
                sampling=SamplingParams(
                    temperature=request.temperature if request.top_p else 0.0,
                    top_p=request.top_p or 1.0,
                    seed=item_seed(seed, str(number)) if number else seed,
                    ignore_eos=request.ignore_eos,
                ),
                grammar=grammar,
                stop=request.stops,
                stream=request.stream,
            )
            for number in range(request.n)
        ]
        return Group(
            id=name, prefix_ids=prefix, images=images, branches=branches, max_side=self._plan.max_side
        )


def addresses(turns: Sequence[Turn]) -> list[str]:
    """The addresses of the images."""
    return [part.address for turn in turns for part in turn.parts if isinstance(part, Image)]


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message without the fields that say nothing here."""
    left = {
        key: value
        for key, value in message.items()
        if value is not None and value not in _EMPTY.get(key, ()) and key != "name"
    }
    if left.get("role") == "developer":
        left["role"] = "system"  # its newer name
    return left


def _are_ids(prompt: Sequence[object]) -> bool:
    return bool(prompt) and isinstance(prompt[0], int)


@contextmanager
def _explained(param: str) -> Iterator[None]:
    try:
        yield
    except DocumentError as error:
        code = "invalid_image" if error.reason != "bad_messages" else None
        raise refused(error.message, param, code) from error
    except UnencodableError as error:
        raise refused(str(error), param) from error


def _grammar(request: ChatRequest) -> str | None:
    """The JSON schema that the answer follows, in the form that the engine decodes."""
    asked = request.response_format
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return ANY_OBJECT
    if asked.json_schema is None:
        raise refused("response_format of the type json_schema has no json_schema", "response_format")
    try:
        return strict_schema(asked.json_schema.name or "answer", json.dumps(asked.json_schema.schema_))
    except ValueError as error:
        raise _bad_schema(str(error)) from error
    except RecursionError as error:
        raise _bad_schema("it is nested too deeply") from error


def _bad_schema(why: str) -> ApiError:
    return refused(f"response_format.json_schema.schema: {why}", "response_format", "invalid_json_schema")


@lru_cache(64)
def strict_schema(name: str, schema: str) -> str:
    """A schema of a client's, through the model that a target of the same schema has. Raises ValueError."""
    if len(schema) > MAX_SCHEMA:
        raise ValueError(f"it has {len(schema):,} characters, and the limit is {MAX_SCHEMA:,}")
    model = model_of_schema(safe_name(name), read_json(schema), write_all=True)
    grammar = json.dumps(struct(model).json_of(nullable=False), ensure_ascii=False)
    check_schema(grammar)
    return grammar
