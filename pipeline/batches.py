"""Prompt groups in, completions out: the Replica, one copy of the model as a Ray Data actor.

It drives an engine over a batch of groups and knows nothing of documents. How many Replicas a cluster runs,
and what each of them gets, is decided here too (`plan_fleet`).
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from model.checkpoint import default_dtype, load_model
from model.engine import BatchEngine, EngineConfig
from model.grammar import Grammars
from model.requests import Branch, Completion, Engine, Group
from model.tokenizer import Tokenizer
from pipeline.items import Plan, model_folder
from pipeline.stream import COMPLETION, COMPLETIONS, GROUP, Row, hand_on, inherit, table_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "fp8": torch.bfloat16}
CPU_BATCH, GPU_BATCH = 1, 16  # groups; on a CPU a page takes seconds, and progress is seen page by page


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """How many Replicas run, and what each gets."""

    replicas: int
    """At most this many."""
    ready: int
    """With so many the run starts: a cluster that grows on demand has no GPU yet."""
    gpus: int
    """GPUs of one Replica: 1, or 0 for Replicas on CPUs."""
    threads: int
    """Threads of torch in one Replica on CPUs."""
    batch_size: int
    """Groups that a Replica is given at a time."""


def plan_fleet(
    now: Mapping[str, float],
    later: Mapping[str, float],
    nodes: int,
    replicas: int | None,
    batch_size: int | None,
) -> Fleet:
    """One Replica a GPU; without GPUs one a node, with all of its cores.

    `now` and `later` are the resources of the cluster as it is and as it may grow; `replicas` and
    `batch_size` are what the user asked for, if at all.
    """
    gpus_now, gpus = int(now.get("GPU", 0)), int(max(now.get("GPU", 0), later.get("GPU", 0)))
    if not gpus:
        replicas = replicas or nodes
        threads = max(1, int(max(now.get("CPU", 0), later.get("CPU", 0))) // replicas)
        return Fleet(
            replicas=replicas, ready=replicas, gpus=0, threads=threads, batch_size=batch_size or CPU_BATCH
        )
    if replicas is not None and replicas > gpus:
        raise ValueError(f"--replicas {replicas}: the cluster has {gpus} GPUs, and a Replica needs one")
    replicas = replicas or gpus
    ready = min(max(gpus_now, 1), replicas)
    return Fleet(replicas=replicas, ready=ready, gpus=1, threads=1, batch_size=batch_size or GPU_BATCH)


class Replica:
    """The model and its engine, for as long as the run lasts."""

    def __init__(self, *, plan: Plan, gpus: int, threads: int, dtype: str, cache_dtype: str = "auto") -> None:
        device = torch.device("cuda" if gpus else "cpu")
        if not gpus:
            torch.set_num_threads(threads)  # Ray set OMP_NUM_THREADS to the CPUs that it reserved
        folder = model_folder(plan.model)
        chosen = default_dtype(device) if dtype == "auto" else DTYPES[dtype]
        model = load_model(folder, device=device, dtype=chosen)
        tokenizer = Tokenizer.from_file(folder / "tekken.json", plan.vocab_size)
        grammars = Grammars(tokenizer) if plan.grammar else None
        config = EngineConfig(fp8_weights=dtype == "fp8", fp8_cache=cache_dtype == "fp8")
        self._engine: Engine = BatchEngine(model, eos_id=tokenizer.eos, grammars=grammars, config=config)
        self._plan = plan

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """GROUP rows -> a COMPLETION row for each of their questions."""
        groups, others = hand_on(table, GROUP, COMPLETIONS)
        if others.num_rows:
            yield others
        if not groups.num_rows:
            return
        started = time.perf_counter()
        rows = groups.drop_columns(["pixels"]).to_pylist()
        for index, row in enumerate(rows):
            pixels = np.frombuffer(groups["pixels"][index].as_buffer(), np.uint8)
            self._engine.submit(self._group(index, row, pixels))
        completions: dict[str, Completion] = {}
        while self._engine.pending:
            completions |= {completion.id: completion for completion in self._engine.step()}
        rows[0]["generate_seconds"] = time.perf_counter() - started
        for index, row in enumerate(rows):
            yield table_of(list(inherit(row, _completion_rows(index, row, completions))), COMPLETIONS)

    def _group(self, index: int, row: Row, pixels: NDArray[np.uint8]) -> Group:
        branches = [
            Branch(
                id=f"{index}.{number}",
                ids=ids,
                max_new_tokens=self._plan.max_new_tokens,
                grammar=self._plan.grammar,
            )
            for number, ids in enumerate(row["branch_ids"])
        ]
        return Group(
            id=str(index),
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


def _completion_rows(index: int, row: Row, completions: dict[str, Completion]) -> Iterator[Row]:
    names = ("source_key", "uri", "content_key", "page_first", "page_last")
    origin: dict[str, Any] = {"kind": COMPLETION, **{name: row[name] for name in names}}
    items = zip(row["item_keys"], row["question_ids"], row["questions"], strict=True)
    for number, (item_key, question_id, question) in enumerate(items):
        completion = completions[f"{index}.{number}"]
        yield origin | {
            "item_key": item_key,
            "question_id": question_id,
            "question": question,
            "token_ids": completion.token_ids,
            "logprobs": completion.logprobs,
            "finish_reason": completion.finish_reason,
            "prompt_tokens": completion.prompt_tokens,
            "cached_tokens": completion.cached_tokens,
            "error": completion.error,
        }
