"""Several Replicas behind one address: all answer alike, and one that dies is replaced."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from tests.jobs.serving.served import Server, serving

pytestmark = pytest.mark.processes
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Go on."}],
    "max_tokens": 8,
    "temperature": 0,
    "ignore_eos": True,
}


def replicas(server: Server) -> list[psutil.Process]:
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
        before = replicas(server)
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
        while len(now := replicas(server)) < 2 or before[0] in now:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert before[1] in now
        answered = list(threads.map(lambda _: server.send("POST", "/v1/chat/completions", ASKED), range(24)))
        assert {status for status, _, _ in answered} == {200}
