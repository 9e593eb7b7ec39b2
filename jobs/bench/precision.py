"""What FP8 changes in answers: the same pages and questions through engines of different precision.

In: a way to make the model, which FP8 takes apart. Out: for each precision, how many answers and first tokens
differ from bfloat16's, and by how much the log-probabilities of equal first tokens do.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from PIL import Image

from jobs.bench.workloads import NO_GUARD, Workload, run
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


def compare(
    make_model: Callable[[], Pixtral], tokenizer: Tokenizer, work: Workload, pages: Sequence[Image.Image]
) -> list[dict[str, object]]:
    """A row for each precision; needs a GPU."""
    rows: list[dict[str, object]] = []
    expected = None
    for name, precision in PRECISIONS.items():
        model = make_model()
        patch = model.config.vision.patch_size
        config = EngineConfig(executor=replace(precision, cache_tokens=65536), repetition=NO_GUARD)
        engine = BatchEngine(model, eos_id=-1, config=config)
        done = {one.id: one for one in run(engine, work, pages, tokenizer, patch).completions}
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
