"""Several Replicas behind one address: all answer alike, and one that dies is replaced."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import openai
import psutil
import pytest
from ray import serve
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

from jobs.serving import replicas
from tests.jobs.serving.served import Server, serving

pytestmark = pytest.mark.processes
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
