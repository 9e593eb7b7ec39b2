"""The main job against `ray start --head`: by `ray job submit`, as the README says it, and by RAY_ADDRESS."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from jobs.evaluation.results import read_scores
from pipeline.commit.manifest import read_begun, read_record
from pipeline.commit.tables import read_table
from tests.jobs.parrot import save_parrot
from tests.jobs.ray_head import START_SECONDS, Head, environment_beside, running_head
from tests.jobs.started import END_SECONDS, GONE_SECONDS, left_of, start, wait_for_answers, write_documents
from tests.pipeline.drawn import pdf_bytes

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        " " in sys.executable,
        reason="Ray 2.60 starts a job's workers through bash and does not quote this Python",
    ),
]


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return environment_beside()


@pytest.fixture(scope="module")
def head(environment: dict[str, str]) -> Iterator[Head]:
    with running_head(environment) as found:
        yield found


def run(
    command: str,
    environment: dict[str, str],
    output: Path,
    asks: str = "--question Total? --max-new-tokens 2",
) -> str:
    """Runs the job over four pages, with an item each; returns what it printed."""
    documents = output.parent / "documents"
    documents.mkdir()
    for name in ("a", "b"):
        (documents / f"{name}.pdf").write_bytes(pdf_bytes([(200, 200)] * 2))
    printed = carry_out(f"{command} --input {documents} --output {output} {asks}", environment)
    counts = read_record(str(output))["counts"]
    assert counts["documents_done"] == 2
    assert counts["answered"] + counts["failed"] == counts["expected"] == 4
    return printed


def carry_out(command: str, environment: dict[str, str]) -> str:
    """Runs a command to its good end; returns what it printed."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        job = subprocess.run(
            command.split(), cwd=ROOT, env=environment, text=True, capture_output=True, timeout=500
        )
        if "No available agent" not in job.stderr or time.monotonic() > deadline:
            break
        time.sleep(1)  # the head answers before the agent that starts its jobs: it says to try again later
    assert job.returncode == 0, job.stdout + job.stderr
    return job.stdout + job.stderr


def test_a_job_is_submitted(head: Head, environment: dict[str, str], tmp_path: Path) -> None:
    """It transcribes: its answers lie in a table of their own."""
    submit = f"ray job submit --address {head.dashboard} --working-dir . --"
    job = f"python -m jobs.extract --model {save_parrot(tmp_path / 'parrot', '# Red car')}"
    printed = run(f"{submit} {job}", environment, tmp_path / "out", "--target markdown")
    assert "2 of 2 documents" in printed
    answers = read_table(str(tmp_path / "out" / "answers" / "markdown"))["answer"].to_pylist()
    assert answers == ["# Red car"] * 4


@pytest.mark.soak
def test_an_evaluation_is_submitted(head: Head, environment: dict[str, str], tmp_path: Path) -> None:
    questions = tmp_path / "mine.jsonl"
    rows = [{"question": "Which car?", "answers": [answer]} for answer in ("red car", "Red cat")]
    questions.write_text("\n".join(map(json.dumps, rows)))
    submit = f"ray job submit --address {head.dashboard} --working-dir . --"
    job = f"python -m jobs.evaluate {questions} --model {save_parrot(tmp_path / 'parrot', 'Red car')}"
    printed = carry_out(f"{submit} {job} --output {tmp_path}/out", environment)
    assert "not comparable" not in printed
    assert read_scores(f"{tmp_path}/out")[0]["scores"]["anls"] == 1.0
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_job_joins_the_cluster_that_ray_address_names(
    head: Head, environment: dict[str, str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    job = f"python -m jobs.extract --model {tiny_checkpoint}"
    printed = run(job, environment | {"RAY_ADDRESS": head.cluster}, tmp_path / "out")
    assert f"on the Ray cluster at {head.cluster}" in printed
    assert "constructor arguments in the object store" not in printed


@pytest.mark.soak
def test_a_job_that_is_stopped_leaves_nothing_on_a_cluster_that_goes_on(
    head: Head, environment: dict[str, str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """It has work for long enough: what the signal must find is a run that goes on."""
    documents = write_documents(tmp_path / "in", 100, 3)
    joining = environment | {"RAY_ADDRESS": head.cluster}
    flags = ("--tensor-parallel", "2", "--dtype", "float32", "--max-new-tokens", "32")
    job = start(documents, tmp_path / "out", tiny_checkpoint, joining, *flags)
    wait_for_answers(job)
    came = psutil.Process(head.pid).children(recursive=True)
    ranks = [process for process in came if process.name().startswith("ray::TPWorker")]
    assert len(ranks) == 2
    job.send_signal(signal.SIGINT)
    _, printed = job.communicate(timeout=END_SECONDS)
    assert job.returncode == 130, printed
    assert left_of(ranks) == []
    assert wait_until_none(lambda: processes_of_jobs(head)) == []
    assert wait_until_none(lambda: groups_of_jobs(head)) == []


def wait_until_none(look: Callable[[], list[str]]) -> list[str]:
    """What is left after the time that Ray takes to end what a job has left."""
    deadline = time.monotonic() + GONE_SECONDS
    while (left := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def groups_of_jobs(head: Head) -> list[str]:
    """The placement groups that the cluster holds, by their states."""
    with urllib.request.urlopen(f"{head.dashboard}/api/v0/placement_groups?detail=0", timeout=60) as reply:
        groups = json.load(reply)["data"]["result"]["result"]
    return [group["state"] for group in groups if group["state"] != "REMOVED"]


def processes_of_jobs(head: Head) -> list[str]:
    """What runs on the cluster for a job: its command, its workers, its ranks, and who opens documents."""
    marks = (
        "jobs.extract",
        "pipeline.rasterize.sandbox_main",
        "pipeline.infer.engine_main",
        "ray::MapWorker",
        "ray::MapBatches",
        "ray::TPWorker",
    )
    found = []
    for process in psutil.Process(head.pid).children(recursive=True):
        try:
            found += [mark for mark in marks if mark in " ".join(process.cmdline())]
        except psutil.NoSuchProcess:
            continue
    return found


def said(head: Head, job: str) -> str:
    """What a job has printed."""
    with urllib.request.urlopen(f"{head.dashboard}/api/jobs/{job}/logs", timeout=60) as reply:
        logs: str = json.load(reply)["logs"]
    return logs


@pytest.mark.soak
def test_a_submitted_job_that_is_stopped_leaves_its_rows_and_nothing_else(
    head: Head, environment: dict[str, str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    documents, output = tmp_path / "documents", tmp_path / "out"
    documents.mkdir()
    for number in range(30):
        (documents / f"{number}.pdf").write_bytes(pdf_bytes([(200 + number, 200)] * 2))
    job = f"python -m jobs.extract --model {tiny_checkpoint} --input {documents} --output {output}"
    job += " --question Total? --max-new-tokens 16 --tensor-parallel 2 --dtype float32"

    def ray(words: str, timeout: int = 300) -> str:
        command = ["ray", "job", *words.split()]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=timeout
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    at = f"--address {head.dashboard}"
    ray(f"submit {at} --no-wait --submission-id stopped --working-dir . -- {job}")
    while not re.search("[1-9][0-9]* items answered", said(head, "stopped")):
        time.sleep(0.5)
    assert {"ray::TPWorker", "pipeline.rasterize.sandbox_main"} <= set(processes_of_jobs(head))
    assert "was stopped" in ray(f"stop {at} stopped", timeout=60)
    assert "the same command continues" in said(head, "stopped")
    assert wait_until_none(lambda: processes_of_jobs(head)) == []
    assert wait_until_none(lambda: groups_of_jobs(head)) == []
    assert read_begun(str(output))["finished_at"] is None
    there = read_table(str(output / "answers" / "text")).num_rows
    assert 0 < there < 60
    ray(f"submit {at} --working-dir . -- {job}")
    assert read_record(str(output))["counts"]["answered"] == 60
    keys = read_table(str(output / "answers" / "text"))["item_key"].to_pylist()
    assert len(keys) == len(set(keys)) == 60
