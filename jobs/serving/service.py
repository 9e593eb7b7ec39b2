"""Requests in, replies out: reads a body, prepares its prompts, asks the Replica, writes what it answers.

A request has a ticket from its first byte to the last one of its reply. Whatever ends it, a client that
leaves included, ends its work and gives its place back, here and in the engine. Nothing here blocks the event
loop: bodies are parsed and images decoded in threads.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final
from uuid import uuid4

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from jobs.serving.admission import Admission, Ticket
from jobs.serving.choices import Choice, Piece
from jobs.serving.errors import SERVER_ERROR, ApiError, refused
from jobs.serving.leaving import ClientLeftError, in_thread, unless_left
from jobs.serving.metrics import Metrics
from jobs.serving.prompts import Limits, Prompts, addresses
from jobs.serving.replies import Form, Json
from jobs.serving.requests import AnyRequest, ChatRequest, CompletionRequest, parse
from model.engine.request import Completion, Group
from model.text.tokenizer import Tokenizer
from pipeline.infer.async_replica import AsyncReplica
from pipeline.infer.ranks import EngineBrokenError
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.infer.start import start_supervisor
from pipeline.ingest.data_uris import is_data_uri
from pipeline.ingest.fetching import Ending, FetchError, WebRules, fetch, is_web
from pipeline.plan.model_place import tokenizer_file
from pipeline.plan.plan import Plan

BODY_SECONDS: Final = 60.0  # in which a body has to come: its place is taken meanwhile
SEND_SECONDS: Final = 60.0  # for a client to take a piece of its answer
MOST_HELD: Final = 2 * 2**30  # bytes of bodies and pixels of all requests together
DECODERS: Final = 4  # processes that decode images, at most
FETCHERS: Final = 16
PARSERS: Final = 2
DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """What one server answers."""

    name: str
    """The model's, as clients call it."""
    context: int
    """Tokens of prompt and answer together."""
    images: int
    """Of one request."""
    body_bytes: int
    """Of one request."""
    places: int
    """Answers in work at a time, those that wait included."""
    api_key: str | None = field(default=None, repr=False)
    """Who has it may ask; None: everybody."""
    web: WebRules | None = None
    """For images at http(s) addresses; None: none is fetched."""


@dataclass(kw_only=True)
class _Asked:
    """What is left of a request that is ready for the engine: the base64 of its images, for one, is not."""

    stream: bool
    include_usage: bool
    groups: list[Group]
    form: Form
    started: float
    choices: dict[str, Choice]
    """By branch, in the order in which the reply has them."""


class Service:
    """One server's requests."""

    def __init__(
        self, config: ServiceConfig, plan: Plan, tokenizer: Tokenizer, replica: AsyncReplica
    ) -> None:
        decoders = min(DECODERS, os.cpu_count() or 1)
        limits = Limits(context=config.context, images=config.images)
        self.config = config
        self.replica = replica
        self.metrics = Metrics()
        self.admission = Admission(places=config.places, most_bytes=MOST_HELD)
        self.created = int(time.time())
        self._token_bytes = tokenizer.token_bytes
        self._prompts = Prompts(plan, tokenizer, limits, sandboxes=decoders)
        self._parsers = ThreadPoolExecutor(PARSERS, "parse")
        self._decoders = ThreadPoolExecutor(decoders, "decode")
        self._fetchers = ThreadPoolExecutor(FETCHERS, "fetch")
        self._numbers = count()

    def close(self) -> None:
        """Ends its threads and processes."""
        for executor in (self._parsers, self._decoders, self._fetchers):
            executor.shutdown(cancel_futures=True)
        self._prompts.close()
        self.replica.close()

    async def answer(self, http: Request, kind: type[AnyRequest]) -> Response:
        """The reply to a request, whole or as a stream. Raises ApiError, ClientLeftError."""
        started = time.perf_counter()
        if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            # Also keeps pages of other sites out, which a browser lets send other types unasked.
            raise ApiError(415, "the body has to be JSON: send Content-Type: application/json")
        with ExitStack() as stack:
            ticket = stack.enter_context(self.admission.enter())
            body = await self._read(http, ticket)
            asked = await unless_left(http.receive, self._prepare(body, kind, ticket, started))
            del body
            if not asked.stream:
                reply = await unless_left(http.receive, self._whole(asked))
                return JSONResponse(reply)
            events = self._stream(asked, stack.pop_all())
            first = await unless_left(http.receive, _next(events))
            return _EventStream(first, events, self.metrics)

    async def _read(self, http: Request, ticket: Ticket) -> bytes:
        most = self.config.body_bytes
        too_large = ApiError(413, f"the body has more than {most >> 20} MiB", code="request_too_large")
        length = http.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > most:
            raise too_large
        chunks, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in http.stream():
                    size += len(chunk)
                    if size > most:
                        raise too_large
                    ticket.want_bytes(size)
                    chunks.append(chunk)
        except TimeoutError:
            raise ApiError(408, f"the body did not come in {BODY_SECONDS:g} s") from None
        return b"".join(chunks)

    async def _prepare(self, body: bytes, kind: type[AnyRequest], ticket: Ticket, started: float) -> _Asked:
        request: AnyRequest = await in_thread(self._parsers, parse, body, kind)
        size = len(body)
        del body
        if request.model not in (None, self.config.name):
            message = f"the model {request.model!r:.200} is not here: this server has {self.config.name!r}"
            raise ApiError(404, message, param="model", code="model_not_found")
        name = str(next(self._numbers))
        if isinstance(request, ChatRequest):
            ticket.want_places(request.n)
            groups = [await self._chat(name, request, ticket, size)]
        else:
            assert isinstance(request, CompletionRequest), request
            groups = await in_thread(self._parsers, self._prompts.completions, name, request)
            ticket.want_places(request.n * len(groups))
        ticket.want_bytes(sum(image.nbytes for group in groups for image in group.images))
        chat = isinstance(request, ChatRequest)
        return _Asked(
            stream=request.stream,
            include_usage=request.include_usage,
            groups=groups,
            form=Form(
                chat=chat,
                id=f"{'chatcmpl' if chat else 'cmpl'}-{uuid4().hex}",
                model=self.config.name,
                logprobs=request.wants_logprobs,
            ),
            started=started,
            choices={
                branch.id: Choice(self._token_bytes, request.stops)
                for group in groups
                for branch in group.branches
            },
        )

    async def _chat(self, name: str, request: ChatRequest, ticket: Ticket, size: int) -> Group:
        turns = await in_thread(self._parsers, self._prompts.turns, request)
        named = list(dict.fromkeys(one for one in addresses(turns) if not is_data_uri(one)))
        fetched: Mapping[str, bytes] = {}
        if named:
            fetched = await self._fetch(named)
            ticket.want_bytes(size + sum(map(len, fetched.values())))
        executor = self._decoders if addresses(turns) else self._parsers
        group: Group = await in_thread(executor, self._prompts.chat, name, request, turns, fetched)
        return group

    async def _fetch(self, named: Sequence[str]) -> dict[str, bytes]:
        """What lies at these addresses. The first that fails, or a client that leaves, ends all of it."""
        ending = Ending()
        get = partial(_fetched, rules=self.config.web, ending=ending)
        tasks = [asyncio.create_task(in_thread(self._fetchers, get, one)) for one in named]
        try:
            # Not gather: called off, it waits for all of them, and they for `ending`.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            return {one: task.result() for one, task in zip(named, tasks, strict=True)}
        finally:
            ending.end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _whole(self, asked: _Asked) -> Json:
        pieces: dict[str, Piece] = {}
        async with aclosing(self.replica.ask(asked.groups)) as events:
            with _engine_errors():
                async for event in events:
                    if isinstance(event, Completion):
                        pieces[event.id] = asked.choices[event.id].finish(event)
        done = self._ended(asked)
        both = list(zip([pieces[id] for id in asked.choices], done, strict=True))
        return asked.form.whole(both, len(asked.groups))

    async def _stream(self, asked: _Asked, stack: ExitStack) -> AsyncGenerator[bytes, None]:
        """Server-sent events. An error comes as the last of them, unless it is the first: that is raised."""
        begun = False
        with stack:
            try:
                async for chunk in self._chunks(asked):
                    begun = True
                    yield _event(chunk)
            except ApiError as error:
                if not begun:
                    raise
                yield _event(error.body)
            yield DONE

    async def _chunks(self, asked: _Asked) -> AsyncGenerator[Json, None]:
        form, usage = asked.form, {"usage": None} if asked.include_usage else {}
        indexes = {id: index for index, id in enumerate(asked.choices)}
        given = dict.fromkeys(asked.choices, 0)  # characters
        seen = False
        async with aclosing(self.replica.ask(asked.groups)) as events:
            with _engine_errors():
                async for event in events:
                    choice, index = asked.choices[event.id], indexes[event.id]
                    piece = choice.finish(event) if isinstance(event, Completion) else choice.write(event)
                    if not seen:
                        seen = True
                        self.metrics.first_token.observe(time.perf_counter() - asked.started)
                        if form.chat:
                            for each in indexes.values():
                                yield form.first(each) | usage
                    if piece.text or (form.logprobs and piece.tokens):
                        yield form.piece(index, piece, given[event.id]) | usage
                        given[event.id] += len(piece.text)
                    if isinstance(event, Completion):
                        yield form.last(index, event) | usage
        done = self._ended(asked)
        if usage:
            yield form.usage_chunk(done, len(asked.groups))

    def _ended(self, asked: _Asked) -> list[Completion]:
        """The completions, counted."""
        done = [choice.completion for choice in asked.choices.values() if choice.completion is not None]
        metrics = self.metrics
        metrics.whole.observe(time.perf_counter() - asked.started)
        for one in done:
            metrics.prompt_tokens.inc(one.prompt_tokens)
            metrics.cached_tokens.inc(one.cached_tokens)
            metrics.written_tokens.inc(len(one.token_ids))
            metrics.answers.labels(one.finish_reason).inc()
        return done


def start_service(
    config: ServiceConfig, replica: ReplicaConfig, on_broken: Callable[[], None] = lambda: None
) -> Service:
    """A service with a Replica of its own, once its model is loaded. Raises EngineBrokenError."""
    plan = replica.plan
    tokenizer = Tokenizer.from_file(tokenizer_file(plan.model), plan.vocab_size)
    return Service(config, plan, tokenizer, AsyncReplica(partial(start_supervisor, replica), on_broken))


class _EventStream(Response):
    """A reply whose first event is there already. It ends when its client leaves, or does not read."""

    media_type = "text/event-stream"

    def __init__(self, first: bytes, events: AsyncGenerator[bytes, None], metrics: Metrics) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._first, self._events, self._metrics = first, events, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            try:
                await unless_left(receive, self._send_all(send))
            except (ClientLeftError, TimeoutError):
                self._metrics.left.inc()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        async for event in self._events:
            body = {"type": "http.response.body", "body": event, "more_body": True}
            async with asyncio.timeout(SEND_SECONDS):  # Python 3.11's wait_for may swallow a cancellation
                await send(body)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _next(events: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(events)


def _event(value: Json) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode(errors="replace") + b"\n\n"


@contextmanager
def _engine_errors() -> Iterator[None]:
    """An engine that cannot go on is an ApiError 503."""
    try:
        yield
    except EngineBrokenError as error:
        raise ApiError(503, str(error), kind=SERVER_ERROR) from error


def _fetched(url: str, rules: WebRules | None, ending: Ending) -> bytes:
    """The image at an http(s) address. Raises ApiError 400."""
    try:
        if not is_web(url):
            raise FetchError(f"{url[:200]} is no image: send it as a data: URL, or name its http(s) address")
        return fetch(url, rules, ending)
    except FetchError as error:
        raise refused(str(error), "messages", "invalid_image_url") from error
