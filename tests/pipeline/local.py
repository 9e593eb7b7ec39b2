"""Runs of the whole flow in this process, without Ray: what the tests of outputs share."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import flow
from pipeline.commit import writer
from pipeline.commit.tables import read_table
from pipeline.config import FlowConfig
from pipeline.dedup.registry import Claim, Registry
from pipeline.infer.placement import Placement
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.ingest.listing import split
from pipeline.plan.plan import Plan
from pipeline.plan.rows import ANSWER, FAILURE
from pipeline.prepare import Prepared, prepare
from pipeline.stages import draw_groups, open_sources, read_answers
from tests.pipeline.local_replica import LocalReplica
from tests.pipeline.plans import QUESTIONS

PLACEMENT = Placement(replicas=1, ready=1, tensor_parallel=1, gpus=0, threads=1, batch_size=1, calls=1)
Rows = list[dict[str, Any]]


class LocalRegistry(Registry):
    """The claims of a run without Ray."""

    def close(self) -> None:
        """There is no actor."""


class Killed(BaseException):
    """The driver is gone: it commits nothing any more, and does not leave its output."""


class Machine:
    """Where runs take place, one after the other; it counts what they do."""

    def __init__(self, checkpoint: Path, output: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.output = str(output)
        self.opened: list[str] = []
        self.asked = 0  # items
        self.batch = 1  # prompts in a call of the Replica
        self._values: dict[str, Any] = {
            "model": str(checkpoint),
            "output": self.output,
            "questions": QUESTIONS,
            "dtype": "float32",
            "max_new_tokens": 4,
        }
        self._patch = monkeypatch
        monkeypatch.setattr(writer, "COMMIT_ROWS", 1)

    def prepare(self, inputs: Path | str, again: frozenset[str] | None = None, **changes: Any) -> Prepared:
        """A run that holds the output until it is carried out."""
        self.opened, self.asked = [], 0
        self._held = ExitStack()
        config = FlowConfig(inputs=(str(inputs),), **self._values | changes)
        return self._held.enter_context(prepare(config, again))

    def run(self, inputs: Path | str, *, kill_after: int | None = None, **changes: Any) -> dict[str, Any]:
        """What run.json says. With `kill_after`, the driver dies when so many batches were committed."""
        return self.carry_out(self.prepare(inputs, **changes), kill_after)

    def carry_out(self, prepared: Prepared, kill_after: int | None = None) -> dict[str, Any]:
        def batches(prepared: Prepared, placement: Placement, plan: Plan, claim: Claim) -> Iterator[pa.Table]:
            items = 0  # batches of them
            for batch in self._batches(prepared, claim):
                if items == kill_after:
                    self._patch.setattr(writer.Writer, "commit", lambda self: None)
                    self._patch.setattr("pipeline.commit.lease.Lease.release", lambda self: self._ended.set())
                    raise Killed
                yield batch
                items += any(kind in (ANSWER, FAILURE) for kind in batch["kind"].to_pylist())

        with self._patch.context() as patch:
            patch.setattr(flow, "_batches", batches)
            patch.setattr(flow, "SharedRegistry", LocalRegistry)
            self._patch, before = patch, self._patch
            try:
                with self._held:
                    return flow.run(prepared, PLACEMENT, lambda counts: None)
            finally:
                self._patch = before

    def _batches(self, prepared: Prepared, claim: Claim) -> Iterator[pa.Table]:
        plan = prepared.plan
        replica = LocalReplica(ReplicaConfig(plan=plan, threads=1, dtype=prepared.config.dtype))
        parts = (open_sources(source, plan, claim) for source in split(prepared.remaining.sources, 1))
        # In the order of Ray's choice: here what is known of a document comes before its pages.
        for opened in (table for part in parts for table in reversed(list(part))):
            rows = opened.to_pylist()
            self.opened += [document["uri"] for row in rows for document in row["documents"] or ()]
            for groups in draw_groups(opened, plan, claim):
                for row in range(0, len(groups), self.batch):  # as `repartition` makes the Replica's calls
                    group = groups.slice(row, self.batch)
                    self.asked += sum(len(keys or ()) for keys in group["item_keys"].to_pylist())
                    for completion in replica(group):
                        yield read_answers(completion, plan)

    def rows(self, name: str) -> Rows:
        found: Rows = read_table(f"{self.output}/{name}").to_pylist()
        return found

    def items(self) -> list[tuple[str, int | None, str, str]]:
        """The name of the document, the page and the question of all items, after checks that none is twice
        and that documents/ adds up to them."""
        rows = self.rows("answers/text") + self.rows("failures")
        assert max(Counter(row["item_key"] for row in rows).values(), default=1) == 1
        answered = Counter(row["source_key"] for row in self.rows("answers/text"))
        failed = Counter(row["source_key"] for row in self.rows("failures"))
        for document in self.rows("documents"):
            assert document["items_answered"] == answered[document["source_key"]], document
            assert document["items_failed"] == failed[document["source_key"]], document
        return sorted(
            ((Path(row["uri"]).name, row["page_first"], row["question_id"], row["question"]) for row in rows),
            key=str,
        )
