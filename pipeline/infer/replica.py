"""Prompt groups in, completions out: the Replica, one copy of the model as a Ray Data actor.

Ray Data gives it several batches at a time, each in a thread of its own, and one engine answers all of them.
The Replica knows nothing of documents.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.checkpoint import load_model
from model.engine.request import Branch, Completion, Group
from pipeline.cancellation import is_stopping
from pipeline.infer.engine_factory import make_engine
from pipeline.infer.engine_loop import EngineLoop
from pipeline.infer.pending_calls import PendingCalls, Worker
from pipeline.infer.replica_config import ReplicaConfig, take_device
from pipeline.infer.tp_supervisor import TPSupervisor
from pipeline.plan.plan import model_folder
from pipeline.plan.rows import COMPLETION, COMPLETIONS, GROUP, Row, hand_on, share_seconds, table_of


class Replica:
    """One copy of the model, for as long as the run lasts: in this process, or in ranks that it starts."""

    def __init__(self, config: ReplicaConfig) -> None:
        self._plan = config.plan
        self._numbers = count()
        self._calls = PendingCalls()
        self._worker = _worker(config, self._calls)

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


def _worker(config: ReplicaConfig, calls: PendingCalls) -> Worker:
    if config.tensor_parallel > 1:
        return TPSupervisor(config, calls.deliver, calls.fail)
    device, dtype = take_device(config)
    model = load_model(model_folder(config.plan.model), device=device, dtype=dtype)
    return EngineLoop(make_engine(model, config), calls.deliver, calls.fail)


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
    names = ["source_key", "uri", "content_key", "page_first", "page_last"]
    names += ["pages_missing", "note", "page_damaged"]
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
