"""Prompt groups in, completions out: the Replica, one copy of the model as a Ray Data actor.

Ray Data gives it several batches at a time, each in a thread of its own, and one engine answers all of them,
in a process that may die: the Replica itself computes nothing, and loads no torch. It knows nothing of
documents.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.engine.request import Branch, Completion, Group
from model.engine.sampling_params import SamplingParams
from pipeline.cancellation import is_stopping
from pipeline.infer.engine_process import EngineProcess
from pipeline.infer.pending_calls import PendingCalls, Worker
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.infer.supervisor import StartRanks, Supervisor
from pipeline.plan.keys import item_seed
from pipeline.plan.parcels import PIXELS, buffers_of
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
        waiting = asked.drop_columns([PIXELS]).to_pylist()
        groups = [
            self._group(row, np.frombuffer(pixels, np.uint8))
            for row, pixels in zip(waiting, buffers_of(asked[PIXELS]), strict=True)
        ]
        completions, busy, idle = self._calls.ask(groups, self._worker)
        drawn: dict[str, float] = {}  # branches that were asked again, and the temperatures of their answers
        for attempt in range(max(len(ask.loop_temperatures) for ask in self._plan.asks)):
            looping = self._looping(waiting, groups, completions, attempt)
            if not looping:
                break
            more, more_busy, more_idle = self._calls.ask(looping, self._worker)
            completions, busy, idle = completions | more, busy + more_busy, idle + more_idle
            drawn |= {branch.id: branch.sampling.temperature for one in looping for branch in one.branches}
        rows: list[Row] = []
        for row, group in zip(waiting, groups, strict=True):
            share = len(group.branches) / len(completions)
            row |= {"generate_seconds": busy * share, "idle_seconds": idle * share}
            written = [(completions[branch.id], drawn.get(branch.id)) for branch in group.branches]
            rows += share_seconds(row, list(_completion_rows(row, written)))
        yield table_of(rows, COMPLETIONS)  # one table: Ray pickles each chunk of each column by itself

    def _group(self, row: Row, pixels: NDArray[np.uint8]) -> Group:
        name = str(next(self._numbers))  # a call that Ray repeats asks again, under new names
        asks = (self._plan.asks[number] for number in row["asks"])
        branches = [
            Branch(
                id=f"{name}.{number}",
                ids=ids,
                max_new_tokens=ask.max_new_tokens,
                grammar=ask.grammar,
                stop=ask.stop,
                sampling=SamplingParams(
                    temperature=ask.temperature, top_p=ask.top_p, seed=item_seed(ask.seed, key)
                ),
            )
            for number, (ids, ask, key) in enumerate(
                zip(row["branch_ids"], asks, row["item_keys"], strict=True)
            )
        ]
        return Group(
            id=name,
            prefix_ids=row["prefix_ids"],
            images=_images(pixels, row["heights"], row["widths"]),
            branches=branches,
            max_side=self._plan.max_side,
        )

    def _looping(
        self,
        rows: Sequence[Row],
        groups: Sequence[Group],
        completions: Mapping[str, Completion],
        attempt: int,
    ) -> list[Group]:
        """The branches that went round in a loop and may be asked once more, in their groups.

        The seed follows from the prompt, so that identical pages get the same answer this time, too.
        """
        again = []
        for row, group in zip(rows, groups, strict=True):
            branches = []
            for number, branch in enumerate(group.branches):
                ask = self._plan.asks[row["asks"][number]]
                if completions[branch.id].finish_reason != "repetition" or attempt >= len(
                    ask.loop_temperatures
                ):
                    continue
                sampling = SamplingParams(
                    temperature=max(ask.temperature, ask.loop_temperatures[attempt]),
                    top_p=ask.top_p,
                    seed=item_seed(ask.seed, f"{row['prompt_keys'][number]}/{attempt}"),
                )
                branches.append(replace(branch, sampling=sampling))
            if branches:
                again.append(replace(group, branches=branches))
        return again


def _images(pixels: NDArray[np.uint8], heights: list[int], widths: list[int]) -> list[NDArray[np.uint8]]:
    """Views of the pages' pixels, which travel behind one another."""
    images, start = [], 0
    for height, width in zip(heights, widths, strict=True):
        end = start + height * width * 3
        images.append(pixels[start:end].reshape(height, width, 3))
        start = end
    assert start == len(pixels), (start, len(pixels))
    return images


def _completion_rows(row: Row, completions: Sequence[tuple[Completion, float | None]]) -> Iterator[Row]:
    """A row for each completion; one that was asked again comes with its temperature."""
    names = ["source_key", "uri", "content_key", "page_first", "page_last"]
    names += ["pages_missing", "note", "page_damaged"]
    origin: dict[str, Any] = {"kind": COMPLETION, **{name: row[name] for name in names}}
    columns = (row[name] for name in ("item_keys", "asks", "question_ids", "questions", "prompt_keys"))
    for *named, (completion, temperature) in zip(*columns, completions, strict=True):
        item_key, ask, question_id, question, prompt_key = named
        again = [] if temperature is None else [f"asked again at temperature {temperature:g}: it looped"]
        yield origin | {
            "note": "; ".join([*filter(None, [row["note"]]), *again]) or None,
            "item_key": item_key,
            "ask": ask,
            "question_id": question_id,
            "question": question,
            "prompt_key": prompt_key,
            "token_ids": completion.token_ids,
            "logprobs": completion.logprobs,
            "finish_reason": completion.finish_reason,
            "prompt_tokens": completion.prompt_tokens,
            "cached_tokens": completion.cached_tokens,
            "stopped_at": completion.stopped_at,
            "error": completion.error,
        }
