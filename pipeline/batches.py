"""Prompt groups in, completions out: the Replica, one copy of the model as a Ray Data actor.

Several batches are in work at a time, each in a thread of its own, and one engine answers all of them. The
Replica knows nothing of documents.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from model.checkpoint import default_dtype, load_model
from model.engine import BatchEngine, EngineConfig
from model.grammar import Grammars
from model.requests import Branch, Completion, Group
from model.tokenizer import Tokenizer
from pipeline.desk import Desk, Worker
from pipeline.items import Plan, model_folder
from pipeline.stepper import Stepper
from pipeline.stream import COMPLETION, COMPLETIONS, GROUP, Row, hand_on, inherit, table_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "fp8": torch.bfloat16}


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
        engine = BatchEngine(model, eos_id=tokenizer.eos, grammars=grammars, config=config)
        self._plan = plan
        self._numbers = count()
        self._desk = Desk()
        self._worker: Worker = Stepper(engine, self._desk.deliver, self._desk.fail)

    def __del__(self) -> None:
        if hasattr(self, "_worker"):
            self._worker.close()

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """GROUP rows -> a COMPLETION row for each of their questions. Several threads may be in here."""
        rows, others = hand_on(table, GROUP, COMPLETIONS)
        if others.num_rows:
            yield others
        if not rows.num_rows:
            return
        waiting = rows.drop_columns(["pixels"]).to_pylist()
        groups = []
        for index, row in enumerate(waiting):
            pixels = np.frombuffer(rows["pixels"][index].as_buffer(), np.uint8)
            groups.append(self._group(row, pixels))
        completions, waiting[0]["generate_seconds"] = self._desk.ask(groups, self._worker)
        for row, group in zip(waiting, groups, strict=True):
            written = [completions[branch.id] for branch in group.branches]
            yield table_of(list(inherit(row, _completion_rows(row, written))), COMPLETIONS)

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
    names = ("source_key", "uri", "content_key", "page_first", "page_last")
    origin: dict[str, Any] = {"kind": COMPLETION, **{name: row[name] for name in names}}
    items = zip(row["item_keys"], row["question_ids"], row["questions"], completions, strict=True)
    for item_key, question_id, question, completion in items:
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
