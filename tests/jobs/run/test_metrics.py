"""The metrics of a run and of its Replicas, and a dashboard that asks for no others."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ray.util import metrics as ray_metrics

from jobs.run.metrics import RunMetrics, parse_place, served
from pipeline.commit import pace
from pipeline.commit.document_progress import Counts
from pipeline.commit.tally import Tally
from pipeline.infer.replica_metrics import EXPORTED
from tests.environment import without_ray
from tests.jobs.started import start, write_documents
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.local import Machine
from tests.pipeline.s3 import _free_ports

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "deploy" / "grafana.json"


@pytest.mark.parametrize(
    ("text", "place"),
    [("9100", ("127.0.0.1", 9100)), ("0.0.0.0:9100", ("0.0.0.0", 9100)), ("[::1]:80", ("::1", 80))],
)
def test_a_place_is_a_port_of_this_machine_or_another_host_s(text: str, place: tuple[str, int]) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "0", "65536", "host", ":9100", "a b:1", "9100/metrics"])
def test_another_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="give a port, or HOST:PORT"):
        parse_place(text)


def page(port: int) -> dict[tuple[str, ...], float]:
    """Each sample: its name and the values of its labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now[0]))
    tally = Tally(prompt_tokens=900, cached_tokens=300, output_tokens=50)
    counts = Counts(documents=10, documents_open=4, expected=20)
    metrics = RunMetrics(counts, tally)
    (port, _) = _free_ports()
    with served(metrics, ("127.0.0.1", port)):
        assert page(port)["quire_run_items_waiting",] == 20
        counts.answered, counts.pages = 1, 1
        metrics.look(counts)
        now[0] += 10
        counts.answered, counts.failed, counts.pages, counts.documents_done = 11, 2, 6, 3
        tally.failures.update(timeout=2)
        metrics.look(counts)
        found = page(port)
        taken = pytest.raises(ValueError, match=f"127.0.0.1:{port}: address already in use; choose another")
        with taken, served(metrics, ("127.0.0.1", port)):
            pass
    assert found["quire_run_documents", "listed"] == 10
    assert found["quire_run_documents", "done"] == 3
    assert found["quire_run_items", "answered"] == 11
    assert found["quire_run_items_waiting",] == 7
    assert found["quire_run_pages_total",] == 6
    assert found["quire_run_pages_per_second",] == 0.5
    assert found["quire_run_failures_total", "timeout"] == 2
    assert (found["quire_run_prompt_tokens_total",], found["quire_run_cached_tokens_total",]) == (900, 300)
    assert found["quire_run_seconds_left",] == pytest.approx((20 * 10 / 4 - 13) * 10 / 12)
    assert {name for name, *_ in found} == run_names()
    with pytest.raises(OSError, match="refused"):
        page(port)


def run_names() -> set[str]:
    """The names of all metrics of a run, as Prometheus stores them."""
    metrics = RunMetrics(Counts(documents=1), Tally())
    metrics._pace.pages_per_second = metrics._pace.seconds_left = 1.0
    return {family.name + ("_total" if family.type == "counter" else "") for family in metrics.collect()}


def test_the_dashboard_asks_for_metrics_that_exist_and_for_what_matters() -> None:
    board = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"\b(?:ray_)?quire_\w+", query)}
    assert asked == run_names() | set(EXPORTED)
    labels = {label for query in queries for label in re.findall(r"by \((\w+)\)", query)}
    assert labels == {"state", "reason", "finish_reason", "WorkerId"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_a_replica_counts_what_it_answers(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: dict[str, float] = {}
    waiting: list[float] = []

    def inc(self: Any, value: float = 1.0, tags: Any = None) -> None:
        counted[self.info["name"]] = counted.get(self.info["name"], 0) + value
        assert set(tags or {}) == set(self.info["tag_keys"])

    monkeypatch.setattr(ray_metrics.Counter, "inc", inc)
    monkeypatch.setattr(ray_metrics.Gauge, "set", lambda self, value, tags=None: waiting.append(value))
    (tmp_path / "in").mkdir()
    for number in range(2):
        (tmp_path / "in" / f"{number}.pdf").write_bytes(pdf_bytes([(100 + number, 100)] * 2))
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    machine.run(tmp_path / "in")
    rows = machine.rows("answers/text") + machine.rows("failures")
    asked = [row for row in rows if row["shared_from"] is None]
    assert counted["quire_replica_answers"] == len(asked) == machine.asked
    assert counted["quire_replica_pages"] == len({(row["uri"], row["page_first"]) for row in asked})
    assert counted["quire_replica_prompt_tokens"] > counted["quire_replica_cached_tokens"] > 0
    assert counted["quire_replica_busy_seconds"] > 0
    assert (max(waiting), waiting[-1]) == (2, 0)


METERED = """
import sys, time, ray
ray.init("local", num_cpus=1, include_dashboard=False, _metrics_export_port=int(sys.argv[1]))

@ray.remote
class Metered:
    def answer(self):
        from model.engine.request import Branch, Completion, Group
        from pipeline.infer.replica_metrics import ReplicaMetrics

        metrics = self.metrics = ReplicaMetrics()
        metrics.came(3)
        numbers = {"logprobs": [0.0], "prompt_tokens": 9, "cached_tokens": 3}
        done = Completion(id="1", token_ids=[1], finish_reason="stop", **numbers)
        group = Group(id="1", prefix_ids=[1], images=[None], branches=[], max_side=1)
        metrics.answered([group], [done], 1.5, 0.5)

metered = Metered.remote()
ray.get(metered.answer.remote())
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.soak
@pytest.mark.processes
def test_ray_serves_a_replica_s_metrics_under_these_names() -> None:
    port, _ = _free_ports()
    environment = without_ray() | {"RAY_AUTH_TOKEN": secrets.token_hex(32), "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(
        [sys.executable, "-c", METERED, str(port)],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert any(line == "ready\n" for line in program.stdout)
        deadline = time.monotonic() + 120
        found: set[str] = set()
        while not set(EXPORTED) <= found:
            assert time.monotonic() < deadline, set(EXPORTED) - found
            time.sleep(2)
            found = {name for name, *_ in page(port)}
    finally:
        program.communicate("")


@pytest.mark.soak
@pytest.mark.processes
def test_a_job_serves_its_metrics_while_it_runs(tmp_path: Path, tiny_checkpoint: Path) -> None:
    port, _ = _free_ports()
    documents = write_documents(tmp_path / "in", 40, 2)
    flags = ("--metrics-port", str(port), "--max-new-tokens", "16")
    job = start(documents, tmp_path / "out", tiny_checkpoint, {**os.environ, **without_ray()}, *flags)
    pages = 0.0
    while not pages:
        assert job.poll() is None, "it ended before anybody had read a page"
        time.sleep(0.2)
        try:
            pages = page(port)["quire_run_pages_total",]
        except OSError:
            continue
    _, said = job.communicate(timeout=400)
    assert job.returncode == 0, said
