"""Runs of the whole flow in which something dies: what the tests of Replicas of several ranks share."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import psutil
import pytest
from ray.util import placement_group_table

from pipeline import flow
from pipeline.commit.document_progress import Counts
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import read_table
from pipeline.config import FlowConfig, make_plan
from pipeline.infer.placement import Placement
from pipeline.infer.replica import Replica
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.ingest.listing import list_sources
from pipeline.plan.rows import ANSWER
from pipeline.prepare import prepare
from pipeline.stages import draw_groups, open_sources, read_answers
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.plans import QUESTIONS

Answers = dict[str, tuple[str, int, int]]  # by item key: the answer, its tokens, its prompt's tokens
RANK, REPLICA = "ray::TPWorker", "ray::MapWorker(MapBatches(Replica))"
END_SECONDS = 30


def write_documents(folder: Path, count: int, pages: int) -> Path:
    """PDFs of pages of different sizes."""
    folder.mkdir()
    for number in range(count):
        sizes = [(100 + 20 * number, 100 + 20 * page) for page in range(pages)]
        (folder / f"{number}.pdf").write_bytes(pdf_bytes(sizes))
    return folder


def prepare_run(checkpoint: Path, documents: Path, output: Path, **changes: object) -> FlowConfig:
    """A run in float64, in which answers are equal whatever happens."""
    values: dict[str, object] = {"inputs": (str(documents),), "output": str(output), "model": str(checkpoint)}
    values |= {"questions": QUESTIONS, "dtype": "float64", "tensor_parallel": 2, "max_new_tokens": 8}
    return FlowConfig(**values | changes)  # type: ignore[arg-type]  # values of all types


def placement(replicas: int = 1) -> Placement:
    """Replicas of two ranks, each with up to six pages in work."""
    return Placement(
        replicas=replicas, ready=replicas, tensor_parallel=2, gpus=0, threads=1, batch_size=2, calls=3
    )


def undisturbed(config: FlowConfig) -> Answers:
    """What one whole model answers, without Ray and without faults."""
    plan = make_plan(config)
    replica = Replica(ReplicaConfig(plan=plan, dtype=config.dtype))
    return {
        row["item_key"]: _answer(row["answer"])
        for opened in open_sources(list_sources(config.inputs), plan)
        for group in draw_groups(opened, plan)
        for completion in replica(group)
        for row in read_answers(completion, plan).to_pylist()
        if row["kind"] == ANSWER
    }


def answers(output: Path) -> Answers:
    """What the run has written, after a check that each item is there once and that the counts add up."""
    rows = read_table(str(output / "answers/text")).to_pylist()
    failures = read_table(str(output / "failures")).to_pylist()
    keys = [row["item_key"] for row in rows + failures]
    assert len(keys) == len(set(keys))
    counts = read_record(str(output))["counts"]
    assert len(keys) == counts["expected"] == counts["answered"] + counts["failed"]
    assert counts["documents"] == counts["documents_done"]
    return {row["item_key"]: _answer(row) for row in rows}


def _answer(row: dict[str, object]) -> tuple[str, int, int]:
    names = ("raw_text", "output_tokens", "prompt_tokens")
    return tuple(row[name] for name in names)  # type: ignore[return-value]  # in the order of Answers


def processes(name: str) -> list[psutil.Process]:
    """Ray's workers of this process's own cluster that are called so, the oldest first."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name().startswith(name) or process.cmdline()[:1] == [name]:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return sorted(found, key=lambda process: process.create_time())


class Strikes:
    """An observer of a run that sends signals once so many items are answered."""

    def __init__(self, strikes: list[tuple[int, str, signal.Signals]], seed: int = 0) -> None:
        """Each strike: items answered, whom of, with what; a process is drawn."""
        self.left = sorted(strikes, key=lambda strike: strike[0])
        self.struck: list[int] = []
        self._random = Random(seed)

    def __call__(self, counts: Counts) -> None:
        if self.left and counts.answered >= self.left[0][0] and (found := processes(self.left[0][1])):
            time.sleep(self._random.random() / 2)
            victim = self._random.choice(found)
            try:
                os.kill(victim.pid, self.left[0][2])
            except ProcessLookupError:  # it has gone with the one that was killed before: the next is struck
                return
            self.left.pop(0)
            self.struck.append(victim.pid)


def run_with(
    config: FlowConfig,
    placement: Placement,
    observe: Callable[[Counts], None],
    monkeypatch: pytest.MonkeyPatch,
    **changes: object,
) -> Answers:
    """The run, with what `changes` say of its Replicas; it leaves no process and no placement group."""

    def replica_config(**values: object) -> ReplicaConfig:
        return ReplicaConfig(**values | changes)  # type: ignore[arg-type]  # values of all types

    monkeypatch.setattr(flow, "ReplicaConfig", replica_config)
    with prepare(config) as prepared:
        flow.run(prepared, placement, observe)
    assert_nothing_is_left()
    return answers(Path(config.output))


def assert_nothing_is_left() -> None:
    """Neither ranks nor leaders nor placement groups, after the time that Ray takes to end them."""
    for _ in range(END_SECONDS * 10):
        groups = [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
        left = processes(RANK) + processes(REPLICA)
        if not groups and not left:
            return
        time.sleep(0.1)
    raise AssertionError((groups, left))
