"""Runs that need a Ray of their own, as a program that prints what came of one, as JSON.

python -m tests.pipeline.scenarios two_nodes | killer | interrupted CHECKPOINT FOLDER
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util import placement_group_table

from pipeline.commit.document_progress import Counts
from pipeline.commit.tables import read_table
from schemas.targets import Question
from tests.pipeline.deadly import DEADLY
from tests.pipeline.faults import (
    RANK,
    assert_nothing_is_left,
    placement,
    prepare_run,
    processes,
    run_with,
    undisturbed,
    write_documents,
)
from tests.pipeline.plans import QUESTIONS

ROOT = Path(__file__).parents[2]


def two_nodes(checkpoint: Path, folder: Path) -> dict[str, object]:
    """A Replica on each of two nodes, of which one goes: what it was asked is answered on the other."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1, resources={"slot": 2}) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    prepared = prepare_run(checkpoint, write_documents(folder / "in", 12, 3), folder / "out")
    places: list[set[str]] = []

    def observe(counts: Counts) -> None:
        groups = [group for group in placement_group_table().values() if group["state"] == "CREATED"]
        if counts.answered >= 4 and len(groups) == 2 and len(nodes) == 2:
            places.extend(set(group["bundles_to_node_id"].values()) for group in groups)
            cluster.remove_node(nodes.pop(), allow_graceful=False)

    with pytest.MonkeyPatch.context() as patch:
        found = run_with(prepared, placement(replicas=2), observe, patch, bundle={"slot": 1.0})
    expected = undisturbed(prepared)
    ray.shutdown()
    cluster.shutdown()
    return {
        "nodes_left": len(nodes),
        "apart": len(places) == 2 and places[0] != places[1] and all(len(place) == 1 for place in places),
        "answered": len(found),
        "equal": found == expected,
    }


def killer(checkpoint: Path, folder: Path) -> dict[str, object]:
    """A page that kills its ranks whenever it is asked."""
    hook = {"worker_process_setup_hook": "tests.pipeline.deadly.install"}
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env=hook)
    questions = (*QUESTIONS, Question(id="deadly", text=DEADLY, documents="1.pdf", pages=[2]))
    documents = write_documents(folder / "in", 3, 3)
    prepared = prepare_run(checkpoint, documents, folder / "out", questions=questions)
    started: set[int] = set()

    def observe(counts: Counts) -> None:
        started.update(process.pid for process in processes(RANK))

    with pytest.MonkeyPatch.context() as patch:
        found = run_with(prepared, placement(), observe, patch)
    expected = undisturbed(prepared)
    failures = read_table(str(folder / "out" / "failures")).to_pylist()
    ray.shutdown()
    return {
        "lives": len(started) // 2,
        "failures": sorted((row["uri"][-5:], row["page_first"], row["question_id"]) for row in failures),
        "reasons": sorted({f"{row['stage']} {row['reason']}" for row in failures}),
        "messages": sorted({row["message"] for row in failures}),
        "equal": found == {key: answer for key, answer in expected.items() if key in found},
        "answered": len(found),
    }


def interrupted(checkpoint: Path, folder: Path) -> dict[str, object]:
    """Ctrl-C in a job on a cluster that goes on, and then in one with a Ray of its own."""
    documents = write_documents(folder / "in", 30, 3)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False)
    joined = _interrupt(checkpoint, documents, folder / "joined", {"RAY_ADDRESS": cluster.address})
    assert_nothing_is_left()
    ray.shutdown()
    cluster.shutdown()
    private = _interrupt(checkpoint, documents, folder / "private", {})
    return {"joined": joined, "private": private}


def _interrupt(checkpoint: Path, documents: Path, output: Path, environment: dict[str, str]) -> list[int]:
    """The job's exit code, and how many of the processes that came with it are left."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    command = [sys.executable, "-m", "jobs.extract", "--tensor-parallel", "2", "--dtype", "float32"]
    flags = {"--model": checkpoint, "--input": documents, "--output": output, "--question": "Total?"}
    command += [str(part) for flag in flags.items() for part in flag]
    job = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stderr=subprocess.PIPE, text=True)
    assert job.stderr is not None
    for line in job.stderr:
        if "items answered" in line and " 0 items" not in line:
            break
    came = {process for process in psutil.Process().children(recursive=True) if process.pid not in before}
    ranks = {process for process in came if process.name().startswith(RANK)}
    assert len(ranks) == 2
    ours = ranks if environment else came  # a Ray of its own goes with the job
    job.send_signal(signal.SIGINT)
    code = job.wait(timeout=60)
    job.stderr.close()
    for _ in range(300):
        ours = {process for process in ours if _lives(process)}
        if not ours:
            break
        time.sleep(0.1)
    return [code, len(ours)]


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    Path(sys.argv[3]).mkdir(exist_ok=True)
    scenarios = {"two_nodes": two_nodes, "killer": killer, "interrupted": interrupted}
    name, checkpoint, folder = sys.argv[1:]
    print(json.dumps(scenarios[name](Path(checkpoint), Path(folder))))
