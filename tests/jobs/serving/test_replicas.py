"""Several Replicas behind one address: all answer alike, and one that dies is replaced."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import openai
import psutil
import pytest
from ray import serve
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

from jobs.serving import replicas
from jobs.serving.server import ServerConfig, make_plan, make_replica_config
from jobs.serving.service import ServiceConfig
from model.checkpoint_files import check_checkpoint
from pipeline.infer.ranks import EngineBrokenError
from pipeline.ingest.fetching import WebRules
from tests.jobs.serving.served import Server, serving

ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Go on."}],
    "max_tokens": 8,
    "temperature": 0,
    "ignore_eos": True,
}


def processes(server: Server) -> list[psutil.Process]:
    """The processes of those that have an engine."""
    return [
        one.parent()
        for one in psutil.Process(server.process.pid).children(recursive=True)
        if one.status() != psutil.STATUS_ZOMBIE and one.name() == "quire-engine"
    ]


class FakeServe:
    """As much of Ray Serve as is called: it keeps what it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.options: dict[str, Any] = {}
        self.http: dict[str, Any] = {}
        self.bound: tuple[Any, ...] = ()
        self.deleted: list[str] = []
        self.is_shut_down = False
        self._error = error

    def deployment(self, application: type, **options: Any) -> Any:
        self.options = options
        return SimpleNamespace(bind=lambda *given: given)

    def start(self, *, http_options: dict[str, Any], **_: Any) -> None:
        self.http = http_options

    def run(self, bound: tuple[Any, ...], **_: Any) -> None:
        if self._error is not None:
            raise self._error
        self.bound = bound

    def delete(self, name: str) -> None:
        self.deleted.append(name)

    def shutdown(self) -> None:
        self.is_shut_down = True


def serve_two(fake: FakeServe, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """Serves until it is ready, and is told to end then; the two configs that the fake was given."""

    def say(text: str) -> None:
        print(text, file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(replicas, "serve", fake)
    monkeypatch.setattr(replicas, "list_named_actors", lambda all_namespaces: [])
    monkeypatch.setattr(replicas, "say", say)
    limits: dict[str, Any] = {"images": 2, "body_bytes": 10_000, "places": 4}
    config = ServerConfig(model=str(checkpoint), host="", port=0, name="tiny", **limits)
    shape = check_checkpoint(checkpoint)
    replica = make_replica_config(config, make_plan(config, str(checkpoint), shape), shape)
    service = ServiceConfig(name="tiny", context=200, web=WebRules(), **limits)
    replicas.serve_replicas(
        service, replica, replicas=2, host="127.0.0.1", port=1234, grace_seconds=7, ready="ready"
    )
    return service, replica


def test_each_replica_is_the_whole_application_and_they_are_left_with_sigterm(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeServe()
    before = signal.getsignal(signal.SIGTERM)
    given = serve_two(fake, tiny_checkpoint, monkeypatch)
    assert fake.bound == given
    assert (fake.options["num_replicas"], fake.options["max_ongoing_requests"]) == (2, 8)
    assert fake.options["graceful_shutdown_timeout_s"] == 7
    assert fake.http == {"host": "127.0.0.1", "port": 1234}
    assert fake.deleted == [replicas.NAME]
    assert fake.is_shut_down
    assert signal.getsignal(signal.SIGTERM) is before
    assert "ready" in capsys.readouterr().err


def test_replicas_that_do_not_start_are_a_sentence(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeServe(RuntimeError("no GPU\nand a stack"))
    with pytest.raises(EngineBrokenError, match=r"^the Replicas do not start: no GPU$"):
        serve_two(fake, tiny_checkpoint, monkeypatch)
    assert fake.is_shut_down


def test_a_replica_whose_engine_broke_says_so_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Serve replaces one that raises."""
    engine = SimpleNamespace(broken=None)
    monkeypatch.setattr(replicas, "start_service", lambda *_: SimpleNamespace(replica=engine, config=None))
    kind: Any = replicas.Application.__mro__[1]  # Ray Serve's wrapper is made by Ray Serve alone
    one = kind(None, None)
    one.check_health()
    engine.broken = "OSError: no GPU"
    with pytest.raises(EngineBrokenError, match="no GPU"):
        one.check_health()


@pytest.mark.soak
@pytest.mark.processes
def test_two_replicas_answer_and_one_that_is_killed_is_replaced(tiny_checkpoint: Path) -> None:
    flags = ("--model", str(tiny_checkpoint), "--served-model-name", "tiny", "--max-queue", "64")
    with serving(*flags, "--dtype", "float32", "--replicas", "2") as server, ThreadPoolExecutor(8) as threads:
        assert server.send("GET", "/health")[0] == 200
        before = processes(server)
        assert len(before) == 2
        expected = server.ask(ASKED)["choices"]
        assert all(one["choices"] == expected for one in threads.map(server.ask, [ASKED] * 24))
        seen = {float(server.metric("quire_written_tokens_total")) for _ in range(24)}
        assert len(seen) == 2, "one Replica answered nothing"
        with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
            extra = {"ignore_eos": True}
            asked = {key: value for key, value in ASKED.items() if key != "ignore_eos"}
            chunks = client.chat.completions.create(model="tiny", **asked, extra_body=extra, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert text == expected[0]["message"]["content"]
        assert server.refuse({"messages": []})[0] == 400

        before[0].kill()
        deadline = time.monotonic() + 120
        while len(now := processes(server)) < 2 or before[0] in now:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert before[1] in now
        answered = list(threads.map(lambda _: server.send("POST", "/v1/chat/completions", ASKED), range(24)))
        assert {status for status, _, _ in answered} == {200}


def test_what_runs_has_more_than_a_minute_if_the_grace_is_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Serve itself waits a minute, and raises."""
    waits = [TimeoutError(), TimeoutError()]

    def delete(name: str) -> None:
        if waits:
            raise waits.pop()

    monkeypatch.setattr(serve, "delete", delete)
    replicas._finish(60)
    assert waits == []
    waits = [TimeoutError(), TimeoutError()]
    replicas._finish(0)
    assert len(waits) == 1


def test_ray_serve_that_only_just_starts_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it had no proxy yet, a second server replaced what the first served, and ended it."""
    there = [{"name": SERVE_CONTROLLER_NAME, "namespace": SERVE_NAMESPACE}]
    monkeypatch.setattr(replicas, "list_named_actors", lambda all_namespaces: there)
    service, replica = Mock(places=1), Mock(gpus=0, tensor_parallel=1)
    with pytest.raises(ValueError, match="Ray Serve runs on this cluster already"):
        replicas.serve_replicas(
            service, replica, replicas=2, host="127.0.0.1", port=0, grace_seconds=1, ready=""
        )


def test_a_port_that_the_head_of_ray_lacks_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(**_: object) -> None:
        raise RuntimeError("Failed to bind to address")

    monkeypatch.setattr(serve, "start", start)
    with pytest.raises(ValueError, match="--port 80 cannot be listened on by the head of Ray"):
        replicas._listen("0.0.0.0", 80)
