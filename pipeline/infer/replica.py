"""Prompt groups in, completions out: the Replica, one copy of the model as a Ray Data actor.

Ray Data gives it several batches at a time, each in a thread of its own, and one engine answers all of them,
in a process that may die: the Replica itself computes nothing, and loads no torch. It knows nothing of
documents.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.engine.request import Branch, Completion, Group
from pipeline.cancellation import is_stopping
from pipeline.infer.engine_process import EngineProcess
from pipeline.infer.pending_calls import PendingCalls, Worker
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.infer.supervisor import StartRanks, Supervisor
from pipeline.plan.rows import COMPLETION, COMPLETIONS, GROUP, Row, hand_on, share_seconds, table_of


class Replica:
    """One copy of the model, for as long as the run lasts, in processes that it starts."""

    def __init__(self, config: ReplicaConfig) -> None:
        self._plan = config.plan
        self._numbers = count()
        self._calls = PendingCalls()
        self._worker = self.start_worker(config, self._calls)

    def start_worker(self, config: ReplicaConfig, calls: PendingCalls) -> Worker:
        """Comes back when the model is loaded. Raises EngineBrokenError."""
        start: StartRanks = partial(EngineProcess, config)
        if config.tensor_parallel > 1:
            # Only here: it brings torch, which a Replica of one rank does without.
            from pipeline.infer.tp_group import starter

            start = starter(config)
        return Supervisor(start, calls.deliver, calls.fail)

    def __del__(self) -> None:
        if hasattr(self, "_worker"):
            self._worker.close()

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """GROUP rows -> a COMPLETION row for each of their questions. Several threads may be in here."""
        asked, others = hand_on(table, GROUP, COMPLETIONS)
        if others.num_rows:
            yield others
        if not asked.num_rows or is_stopping(self._plan.run_id):
            return
        waiting = asked.drop_columns(["pixels"]).to_pylist()
        groups = []
        for index, row in enumerate(waiting):
            pixels = np.frombuffer(asked["pixels"][index].as_buffer(), np.uint8)
            groups.append(self._group(row, pixels))
        completions, busy, idle = self._calls.ask(groups, self._worker)
        rows: list[Row] = []
        for row, group in zip(waiting, groups, strict=True):
            share = len(group.branches) / len(completions)
            row |= {"generate_seconds": busy * share, "idle_seconds": idle * share}
            written = [completions[branch.id] for branch in group.branches]
            rows += share_seconds(row, list(_completion_rows(row, written)))
        yield table_of(rows, COMPLETIONS)  # one table: Ray pickles each chunk of each column by itself

    def _group(self, row: Row, pixels: NDArray[np.uint8]) -> Group:
        name = str(next(self._numbers))  # a call that Ray repeats asks again, under new names
        branches = [
            Branch(
                id=f"{name}.{number}",
                ids=ids,
                max_new_tokens=self._plan.max_new_tokens,
                grammar=self._plan.grammar,
            )
            for number, ids in enumerate(row["branch_ids"])
        ]
        return Group(
            id=name,
            prefix_ids=row["prefix_ids"],
            images=_images(pixels, row["heights"], row["widths"]),
            branches=branches,
            max_side=self._plan.max_side,
        )


def _images(pixels: NDArray[np.uint8], heights: list[int], widths: list[int]) -> list[NDArray[np.uint8]]:
    """Views of the pages' pixels, which travel behind one another."""
    images, start = [], 0
    for height, width in zip(heights, widths, strict=True):
        end = start + height * width * 3
        images.append(pixels[start:end].reshape(height, width, 3))
        start = end
    assert start == len(pixels), (start, len(pixels))
    return images


def _completion_rows(row: Row, completions: Sequence[Completion]) -> Iterator[Row]:
    names = ("source_key", "uri", "content_key", "page_first", "page_last", "pages_missing", "note")
    origin: dict[str, Any] = {"kind": COMPLETION, **{name: row[name] for name in names}}
    columns = (row[name] for name in ("item_keys", "question_ids", "questions", "prompt_keys"))
    for item_key, question_id, question, prompt_key, completion in zip(*columns, completions, strict=True):
        yield origin | {
            "item_key": item_key,
            "question_id": question_id,
            "question": question,
            "prompt_key": prompt_key,
            "token_ids": completion.token_ids,
            "logprobs": completion.logprobs,
            "finish_reason": completion.finish_reason,
            "prompt_tokens": completion.prompt_tokens,
            "cached_tokens": completion.cached_tokens,
            "error": completion.error,
        }
