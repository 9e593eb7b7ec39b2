"""Asks the same questions about the same pages in bfloat16 and in FP8, and counts the answers that change.

A row for each precision says how many answers and first tokens differ from those of bfloat16, and by how much
the log-probabilities of equal first tokens differ. Needs a GPU.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from PIL import Image

from jobs.bench.flags import add_model, new_parser
from jobs.bench.models import make_model, tokenizer_file
from jobs.bench.printing import machine, print_json, print_table
from jobs.bench.workloads import NO_GUARD, Workload, draw_pages, run_workload
from model.engine.config import EngineConfig
from model.engine.engine import BatchEngine
from model.executor.factory import ExecutorConfig
from model.network.pixtral import Pixtral
from model.text.tokenizer import Tokenizer

WORK = Workload(pages=16, width=784, height=1024, questions=8, tokens=16)
PRECISIONS = {
    "bfloat16": ExecutorConfig(),
    "FP8 cache": ExecutorConfig(fp8_cache=True),
    "FP8 weights": ExecutorConfig(fp8_weights=True),
    "FP8 weights and cache": ExecutorConfig(fp8_weights=True, fp8_cache=True),
}


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("precision", __doc__)
    add_model(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for each precision."""
    if not torch.cuda.is_available():
        raise ValueError("FP8 needs a GPU, and none is to be seen: run this where there is one")
    device = torch.device("cuda")
    rows = compare(
        partial(make_model, arguments.model, arguments.shape, device=device, dtype=torch.bfloat16),
        Tokenizer.from_file(tokenizer_file(arguments.model, arguments.shape)),
        WORK,
        draw_pages(WORK, "FP8"),
    )
    print_table(f"{arguments.shape or arguments.model} on {machine(device)}", rows, left=("precision",))
    print_json("precision", rows, machine=machine(device))


def compare(
    fresh_model: Callable[[], Pixtral], tokenizer: Tokenizer, work: Workload, pages: Sequence[Image.Image]
) -> list[dict[str, object]]:
    """A row for each precision. Each has a model of its own, since FP8 takes the weights apart."""
    rows: list[dict[str, object]] = []
    expected = None
    for name, precision in PRECISIONS.items():
        model = fresh_model()
        patch = model.config.vision.patch_size
        config = EngineConfig(executor=replace(precision, cache_tokens=65536), repetition=NO_GUARD)
        engine = BatchEngine(model, eos_id=-1, config=config)
        done = {one.id: one for one in run_workload(engine, work, pages, tokenizer, patch).completions}
        del model, engine
        torch.cuda.empty_cache()
        expected = expected or done
        pairs = [(done[id], expected[id]) for id in expected]
        alike = [
            abs(ours.logprobs[0] - theirs.logprobs[0])
            for ours, theirs in pairs
            if ours.token_ids[0] == theirs.token_ids[0]
        ]
        rows.append(
            {
                "precision": name,
                "answers": len(pairs),
                "changed": sum(ours.token_ids != theirs.token_ids for ours, theirs in pairs),
                "first_tokens_changed": len(pairs) - len(alike),
                "mean_logprob_change": round(statistics.mean(alike), 4) if alike else None,
                "largest_logprob_change": round(max(alike), 4) if alike else None,
            }
        )
    return rows
