"""Whatever is sent, the server answers it or says why not, lives on, and holds nothing of it afterwards."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import psutil
import pytest

from tests.jobs.serving.bodies import body, good
from tests.jobs.serving.served import Server, error_of, serving

pytestmark = pytest.mark.processes
MIB = 2**20
# Of bodies 3,000 to 10,000, when what is kept is filled. The engine's cache counts as it is first written to:
# 134 MiB of this model.
GROWTH, ENGINE_GROWTH = 16 * MIB, 134 * MIB


def check(server: Server, seed: int) -> int:
    """Sends a body; its status, which may be nothing but an answer or a client's mistake."""
    path, data = body(Random(seed))
    status, headers, reply = server.send("POST", path, data)
    assert status == 200 or 400 <= status < 500, (seed, data[:2000], reply)
    if status != 200:
        error_of(reply)
    elif headers["content-type"].startswith("text/event-stream"):
        events = reply.decode().split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""], (seed, reply)
        assert all("error" not in json.loads(event[6:]) for event in events[:-2]), (seed, reply)
    else:
        assert json.loads(reply)["choices"], (seed, reply)
    return status


def memory(server: Server) -> tuple[int, int]:
    """Bytes of the server and its sandboxes; and of its engine."""
    process, engine = psutil.Process(server.process.pid), server.engine()
    others = [one for one in process.children(recursive=True) if one.pid != engine.pid]
    return sum(one.memory_info().rss for one in [process, *others]), engine.memory_info().rss


@pytest.fixture
def tiny(tiny_checkpoint: Path) -> tuple[str, ...]:
    return ("--model", str(tiny_checkpoint), "--served-model-name", "nano", "--max-model-len", "2000")


def test_hundreds_of_bodies(tiny: tuple[str, ...]) -> None:
    with serving(*tiny) as server:
        with ThreadPoolExecutor(4) as threads:
            statuses = list(threads.map(lambda seed: check(server, seed), range(400)))
        assert statuses.count(200) > 60
        assert statuses.count(400) > 150
        assert server.ask(good(Random(0)) | {"stream": False})["choices"]
        assert server.metric("quire_answers_in_work") == server.metric("quire_held_bytes") == 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_bodies_leave_nothing_behind(tiny: tuple[str, ...]) -> None:
    with serving(*tiny) as server:
        curve = []
        for thousand in range(10):
            with ThreadPoolExecutor(4) as threads:
                seeds = range(1000 * thousand, 1000 * (thousand + 1))
                list(threads.map(lambda seed: check(server, seed), seeds))
            curve.append(memory(server))
        (ours, engines), (ours_later, engines_later) = curve[2], curve[-1]
        assert ours_later - ours < GROWTH, curve
        assert engines_later - engines < ENGINE_GROWTH, curve
        assert server.metric("quire_answers_in_work") == server.metric("quire_held_bytes") == 0
