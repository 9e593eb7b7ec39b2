"""Runs of the whole flow in which something dies: what the tests of Replicas share."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from threading import Thread

import psutil
import pyarrow as pa
import pytest
from ray.util import placement_group_table

from pipeline import flow
from pipeline.commit.document_progress import Counts
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import read_table
from pipeline.config import FlowConfig, make_plan
from pipeline.infer.placement import Placement
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.ingest.listing import list_sources
from pipeline.plan.parcels import unpack
from pipeline.plan.rows import ANSWER, GROUPS
from pipeline.prepare import prepare
from pipeline.stages import Replica, draw_groups, open_sources, read_answers
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.local_replica import LocalReplica
from tests.pipeline.plans import QUESTIONS

Answers = dict[str, tuple[str, int, int]]  # by item key: the answer, its tokens, its prompt's tokens
RANK, REPLICA, ENGINE = "ray::TPWorker", "ray::MapWorker(MapBatches(", "pipeline.infer.engine_main"
LOADED_RANK = f"{RANK}.report"  # as Ray calls a process by what it does; before, it is in "start"
LOADED_ENGINE = "quire-engine"
END_SECONDS = 60
PATIENCE_SECONDS = 400  # some ten seconds on an idle machine


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


def placement(replicas: int = 1, ranks: int = 2) -> Placement:
    """Replicas of so many ranks, each with up to six pages in work."""
    return Placement(
        replicas=replicas, ready=replicas, tensor_parallel=ranks, gpus=0, threads=1, batch_size=2, calls=3
    )


def undisturbed(config: FlowConfig) -> Answers:
    """What one whole model answers, without Ray and without faults."""
    plan = make_plan(config)
    replica = LocalReplica(ReplicaConfig(plan=plan, dtype=config.dtype))
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
    """Ray's workers of this process's own cluster that are called so, or engines, the oldest first."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name().startswith(name) or name in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return sorted(found, key=lambda process: process.create_time())


@dataclass(frozen=True, kw_only=True)
class HeldConfig(ReplicaConfig):
    """Of a Replica that keeps the first document's first page back."""

    gate: Path
    hook: Callable[[], None] | None = None
    """Called in each process that is given this."""

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        if self.hook is not None:
            self.hook()


class HeldReplica(Replica):
    """Answers the first document's first page only once its gate is open: until then the run cannot end."""

    def __init__(self, config: HeldConfig) -> None:
        super().__init__(config)
        self._gate = config.gate

    def __call__(self, parcels: pa.Table) -> Iterator[pa.Table]:
        """Other calls go on meanwhile: the page is in one of them, and each placement has at least two."""
        table = unpack(parcels, GROUPS)
        pages = zip(table["uri"].to_pylist(), table["page_first"].to_pylist(), strict=True)
        if any(page == 1 and uri.endswith("/0.pdf") for uri, page in pages):
            while not self._gate.exists():
                time.sleep(0.05)
        yield from super().__call__(parcels)


class Disturbance(Thread):
    """Something that happens to a run whose end waits for it; it sees how many items are answered."""

    def __init__(self, gate: Path) -> None:
        super().__init__(daemon=True)
        self.gate = gate
        self.answered = 0
        self.error: BaseException | None = None

    def __call__(self, counts: Counts) -> None:
        """The run's observer."""
        self.answered = counts.answered

    def run(self) -> None:
        """Lets the run end also where it fails, so that the test says why."""
        try:
            self.disturb()
        except BaseException as error:
            self.error = error
        self.gate.touch()

    def disturb(self) -> None:
        """What happens."""
        raise NotImplementedError

    def wait_until(self, condition: Callable[[], object]) -> None:
        """A busy machine may be slow; only a run that stands still fails."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"in vain, with {self.answered} answers"
            time.sleep(0.05)


class Nothing(Disturbance):
    """Happens to a run that what it reads disturbs."""

    def disturb(self) -> None:
        pass


class Strikes(Disturbance):
    """Signals to processes of a run, each once so many items are answered.

    A strike waits until its victim is there. It never hits a process of a life that was struck before, which
    may need some seconds to go, and which the run would not miss. Moments must lie before the held pages.
    """

    def __init__(self, gate: Path, strikes: list[tuple[int, str, signal.Signals]], seed: int = 0) -> None:
        """Each strike: items answered, whom of, with what; a process is drawn."""
        super().__init__(gate)
        self.struck: list[int] = []
        self._strikes = sorted(strikes, key=lambda strike: strike[0])
        self._random = Random(seed)
        self._former: set[int] = set()

    def disturb(self) -> None:
        for moment, name, number in self._strikes:
            self.wait_until(partial(self._is_due, moment))
            self.wait_until(partial(self._strike, name, number))

    def _is_due(self, moment: int) -> bool:
        return self.answered >= moment

    def _strike(self, name: str, number: signal.Signals) -> bool:
        found = [process.pid for process in processes(name)]
        victims = [pid for pid in found if pid not in self._former]
        if not victims:
            return False
        victim = self._random.choice(victims)
        try:
            os.kill(victim, number)
        except ProcessLookupError:
            return False
        self._former.update(found)
        self.struck.append(victim)
        return True


def run_with(
    config: FlowConfig,
    placement: Placement,
    disturbance: Disturbance,
    monkeypatch: pytest.MonkeyPatch,
    **changes: object,
) -> Answers:
    """The disturbed run, with what `changes` say of its Replicas; it leaves no process and no group."""

    def replica_config(**values: object) -> HeldConfig:
        return HeldConfig(**values | changes | {"gate": disturbance.gate})  # type: ignore[arg-type]  # of all types

    monkeypatch.setattr(flow, "ReplicaConfig", replica_config)
    monkeypatch.setattr(flow, "Replica", HeldReplica)
    disturbance.start()
    try:
        with prepare(config) as prepared:
            flow.run(prepared, placement, disturbance)
    finally:
        disturbance.gate.touch()
        disturbance.join()
    if disturbance.error:
        raise disturbance.error
    assert_nothing_is_left()
    return answers(Path(config.output))


def assert_nothing_is_left() -> None:
    """Neither ranks nor Replicas nor placement groups, after the time that Ray takes to end them."""
    for _ in range(END_SECONDS * 10):
        groups = [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
        left = processes(RANK) + processes(REPLICA) + processes(ENGINE)
        if not groups and not left:
            return
        time.sleep(0.1)
    raise AssertionError((groups, left))
