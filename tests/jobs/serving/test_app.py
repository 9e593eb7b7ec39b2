"""The application without a network: what no client of a healthy server sees."""

import asyncio
import base64
import gc
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image

from jobs.serving import service as module
from jobs.serving.app import make_app
from jobs.serving.requests import ChatRequest
from jobs.serving.server import ServerConfig, make_plan
from jobs.serving.service import Service, ServiceConfig
from model.checkpoint_files import check_checkpoint
from model.engine.request import Completion, Group
from model.text.tokenizer import Tokenizer
from pipeline.infer.async_replica import AsyncReplica
from pipeline.infer.engine_loop import Deliver
from pipeline.ingest.fetching import Ending, FetchError, WebRules
from pipeline.ingest.messages import Turn
from tests.jobs.serving.served import error_of
from tests.pipeline.drawn import image_bytes
from tests.tls import certify
from tests.web import web

NANO = Path("model/nano")
PATH = "/v1/chat/completions"
WORDS = Tokenizer.from_file(NANO / "tekken.json").encode("ab")
CONFIG = ServiceConfig(name="nano", context=200, images=2, body_bytes=10_000, places=2, web=WebRules())


@dataclass
class Scripted:
    """A worker that answers at once, not at all, or with an error."""

    deliver: Deliver
    fail: Callable[[BaseException], None]
    silent: bool = False
    error: str | None = None
    groups: list[Group] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)

    def submit(self, groups: Sequence[Group]) -> None:
        self.groups += groups
        done = [
            Completion(
                id=branch.id,
                token_ids=WORDS,
                logprobs=[-0.1] * len(WORDS),
                finish_reason="error" if self.error else "stop",
                prompt_tokens=5,
                cached_tokens=0,
                error=self.error,
            )
            for group in groups
            for branch in group.branches
        ]
        if not self.silent:
            self.deliver(done, 0.1, [])

    def abort(self, ids: Sequence[str]) -> None:
        self.aborted += ids

    def close(self) -> None:
        """Nothing runs."""


@dataclass
class Reply:
    """What the application sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class World:
    """An application over a scripted worker."""

    app: FastAPI
    service: Service
    worker: Scripted

    async def send(
        self, body: bytes | None, leave: asyncio.Event | None = None, reply: Reply | None = None
    ) -> Reply:
        """The reply to a POST, whose client leaves at the event. Without a body none ever comes."""
        reply = reply or Reply()
        sent = body is None

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            await (leave or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                reply.body += message["body"]

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"host", b"here")],
            "client": None,
            "server": None,
            "scheme": "http",
        }
        await self.app(scope, receive, send)
        return reply


def in_world(test: Callable[[World], Any], given: ServiceConfig = CONFIG) -> None:
    """Runs a test's coroutine in an event loop, and ends its threads."""

    async def main() -> None:
        shape = check_checkpoint(NANO)
        config = ServerConfig(
            model=str(NANO), host="", port=0, name="nano", images=2, body_bytes=10_000, places=2
        )
        workers: list[Scripted] = []

        def start(deliver: Deliver, fail: Callable[[BaseException], None]) -> Scripted:
            workers.append(Scripted(deliver, fail))
            return workers[0]

        replica = AsyncReplica(start)
        tokenizer = Tokenizer.from_file(NANO / "tekken.json")
        service = Service(given, make_plan(config, str(NANO), shape), tokenizer, replica)
        replica.attend()
        try:
            await test(World(make_app(service), service, workers[0]))
            assert service.admission.taken == service.admission.held == replica.asked == 0
        finally:
            await asyncio.to_thread(service.close)

    asyncio.run(main())


def body(**options: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "Who?"}]} | options).encode()


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer(stream: bool) -> None:
    async def test(world: World) -> None:
        reply = await world.send(body(stream=stream))
        assert reply.status == 200
        assert b'"content":"ab"' in reply.body.replace(b": ", b":")

    in_world(test)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status"), [("ValueError: too much", 400), ("RanksLostError: it died", 500)]
)
def test_an_error_of_the_engine_has_its_status(stream: bool, error: str, status: int) -> None:
    async def test(world: World) -> None:
        world.worker.error = error
        reply = await world.send(body(stream=stream))
        assert reply.status == status
        assert "too much" in error_of(reply.body)["message"] or status == 500

    in_world(test)


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_broke_is_a_503(stream: bool) -> None:
    async def test(world: World) -> None:
        world.worker.silent = True
        waiting = asyncio.create_task(world.send(body(stream=stream)))
        while not world.service.replica.asked:
            await asyncio.sleep(0.01)
        world.worker.fail(OSError("no GPU"))
        for reply in (await waiting, await world.send(body(stream=stream))):
            assert reply.status == 503
            assert error_of(reply.body)["message"] == "the engine broke: OSError: no GPU"

    in_world(test)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_before_its_answer_begins(stream: bool) -> None:
    async def test(world: World) -> None:
        world.worker.silent = True
        leave = asyncio.Event()
        waiting = asyncio.create_task(world.send(body(stream=stream, n=2), leave))
        while not world.service.replica.asked:
            await asyncio.sleep(0.01)
        assert (await world.send(body())).status == 429
        leave.set()
        assert (await waiting).status == 499
        assert len(world.worker.aborted) == 2
        assert world.service.metrics.left._value.get() == 1

    in_world(test)


def test_a_client_that_leaves_amid_its_body_is_counted() -> None:
    async def test(world: World) -> None:
        gone = asyncio.Event()
        gone.set()
        assert (await world.send(None, gone)).status == 499
        assert world.service.metrics.left._value.get() == 1

    in_world(test)


def test_a_request_in_work_does_not_keep_its_body() -> None:
    image = base64.b64encode(image_bytes(Image.new("RGB", (40, 20), "red"), "PNG")).decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}

    async def test(world: World) -> None:
        world.worker.silent = True
        leave = asyncio.Event()
        asked = body(messages=[{"role": "user", "content": [picture]}], stream=True)
        waiting = asyncio.create_task(world.send(asked, leave))
        while not world.service.replica.asked:
            await asyncio.sleep(0.01)
        gc.collect()
        kept = [one for one in gc.get_objects() if type(one) in (ChatRequest, Turn)]
        assert not kept
        assert world.service.admission.held == 40 * 20 * 3
        leave.set()
        await waiting

    in_world(test)


@pytest.mark.parametrize("stream", [False, True])
def test_the_engine_tells_of_an_answer_only_where_somebody_reads_it(stream: bool) -> None:
    async def test(world: World) -> None:
        await world.send(body(stream=stream))
        (group,) = world.worker.groups
        assert [branch.stream for branch in group.branches] == [stream]

    in_world(test)


@pytest.mark.parametrize("leaves", [False, True])
def test_the_other_images_are_fetched_no_more_once_one_fails_or_the_client_leaves(
    monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    waits = threading.Event()
    ends: list[str] = []

    def fetch(url: str, rules: WebRules | None, ending: Ending) -> bytes:
        if url.endswith("bad.png") and not leaves:
            assert waits.wait(10)
            raise FetchError("there is nothing")
        ended = threading.Event()
        with ending.wakes(ended.set):
            waits.set()
            assert ended.wait(10)
        ends.append(url)
        raise FetchError("it was called off")

    monkeypatch.setattr(module, "fetch", fetch)
    pictures = [
        {"type": "image_url", "image_url": {"url": f"https://images.test/{name}.png"}}
        for name in ("slow", "bad")
    ]

    async def test(world: World) -> None:
        leave = asyncio.Event()
        asked = body(messages=[{"role": "user", "content": pictures}])
        waiting = asyncio.create_task(world.send(asked, leave))
        while not waits.is_set():
            await asyncio.sleep(0.01)
        if leaves:
            leave.set()
        reply = await waiting
        assert reply.status == (499 if leaves else 400)
        assert "https://images.test/slow.png" in ends
        assert leaves or error_of(reply.body)["message"] == "there is nothing"

    in_world(test)


def test_an_image_of_the_web_is_fetched_once_and_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def fetch(url: str, rules: WebRules | None, ending: Ending) -> bytes:
        assert rules is not None
        fetched.append(url)
        return image_bytes(Image.new("RGB", (40, 20), "red"), "PNG")

    monkeypatch.setattr(module, "fetch", fetch)
    picture = {"type": "image_url", "image_url": {"url": "https://images.test/a.png"}}
    message = {"role": "user", "content": [picture, {"type": "text", "text": "And?"}, picture]}

    async def test(world: World) -> None:
        assert (await world.send(body(messages=[message]))).status == 200
        assert fetched == ["https://images.test/a.png"]
        (group,) = world.worker.groups
        assert [image.shape for image in group.images] == [(20, 40, 3)] * 2
        assert (group.images[0] == (255, 0, 0)).all()

    in_world(test)


@pytest.mark.parametrize("trusted", [True, False])
def test_an_image_comes_over_https_from_who_has_a_certificate_that_is_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trusted: bool
) -> None:
    certificate, tls = certify(tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (tmp_path / "a.png").write_bytes(image_bytes(Image.new("RGB", (40, 20), "red"), "PNG"))
    rules = WebRules(private_hosts=frozenset({"localhost"}))

    async def test(world: World) -> None:
        url = f"https://localhost:{site.server_port}/a.png"
        picture = {"type": "image_url", "image_url": {"url": url}}
        reply = await world.send(body(messages=[{"role": "user", "content": [picture]}]))
        if trusted:
            assert reply.status == 200
            assert (world.worker.groups[0].images[0] == (255, 0, 0)).all()
        else:
            assert reply.status == 400
            assert "no secure connection, or no valid certificate" in error_of(reply.body)["message"]

    with web(tmp_path) as site:
        site.socket = tls.wrap_socket(site.socket, server_side=True)
        in_world(test, replace(CONFIG, web=rules))


def test_who_waits_when_the_server_ends_is_told() -> None:
    async def test(world: World) -> None:
        world.worker.silent = True
        waiting = asyncio.create_task(world.send(body()))
        while not world.service.replica.asked:
            await asyncio.sleep(0.01)
        waiting.cancel()
        reply = await waiting
        assert (reply.status, error_of(reply.body)["message"]) == (503, "the server ends")

    in_world(test)


def test_a_body_that_does_not_come_is_a_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_SECONDS", 0.0)

    async def test(world: World) -> None:
        reply = await world.send(None)
        assert reply.status == 408
        error_of(reply.body)

    in_world(test)


def test_a_fault_of_ours_is_a_500_that_says_nothing_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(module, "parse", broken)

    async def test(world: World) -> None:
        reply = Reply()
        with pytest.raises(KeyError):  # for the log
            await world.send(body(), reply=reply)
        assert reply.status == 500
        assert "secret" not in str(error_of(reply.body))

    in_world(test)
