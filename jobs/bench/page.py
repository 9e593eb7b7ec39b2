"""Times the engines on one page, beside one another and beside transformers with the same weights.

The seconds are those from pixels in memory to the answers' tokens. All engines are asked the same questions,
and every answer has the same forced length. They take turns within one run, so that a busy machine slows all
of them alike. An answer counts as changed if its text is not that of the first engine in the first dtype.
Comparing with transformers needs the [test] extra.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.bench.flags import add_checkpoint, new_parser
from jobs.bench.models import DTYPES, this_device
from jobs.bench.printing import machine, print_json, print_table
from model.checkpoint import load_model
from model.engine.engine import BatchEngine
from model.engine.reference import ReferenceEngine
from model.engine.request import Branch, Completion, Engine, Group
from model.engine.sampling_params import SamplingParams
from model.network.image_grid import grid
from model.network.pixtral import Pixtral
from model.text.tokenizer import ImagePlaceholder, Tokenizer
from pipeline.plan.prompts import about, question_prompt, tokenize
from pipeline.rasterize.pdf import open_document, rasterize

ENGINES = ("naive", "batch", "transformers")
QUESTIONS = (
    "What is the total?",
    "What is the invoice number?",
    "What is the due date?",
    "Who is the vendor?",
    "What is the date?",
    "Who is the customer?",
    "What is the tax?",
    "What is the subtotal?",
)


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("page", __doc__)
    add_checkpoint(parser)
    parser.add_argument(
        "--document",
        type=Path,
        default=Path("samples/documents/invoice.pdf"),
        help="its first page is the page",
    )
    parser.add_argument("--max-side", type=int, default=1024, help="longest edge of the page in pixels")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES), help="compared in turns")
    parser.add_argument(
        "--engine", nargs="+", choices=ENGINES, default=list(ENGINES), help="compared in turns"
    )
    parser.add_argument(
        "--questions", nargs="+", type=int, default=[1, len(QUESTIONS)], help="questions on the page"
    )
    parser.add_argument("--tokens", type=int, default=16, help="length of every answer in tokens")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds, after one that warms up")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for each engine, dtype and number of questions."""
    device = this_device()
    tokenizer = Tokenizer.from_file(arguments.model / "tekken.json")
    models = {
        dtype: load_model(arguments.model, device=device, dtype=DTYPES[dtype]) for dtype in arguments.dtype
    }
    with open_document(arguments.document.read_bytes(), arguments.document.name) as opened:
        patch = next(iter(models.values())).config.vision.patch_size
        image, _, _ = rasterize(opened, 1, max_side=arguments.max_side, patch_size=patch)
    timings = measure(
        models,
        tokenizer,
        image,
        engines=arguments.engine,
        counts=arguments.questions,
        tokens=arguments.tokens,
        repeats=arguments.repeats,
        max_side=arguments.max_side,
    )
    rows = [timing.row(timings) for timing in timings]
    height, width = image.shape[:2]
    title = f"One page of {width} x {height} pixels on {machine(device)}"
    print_table(title, rows, left=("engine", "dtype"))
    print_json("page", rows, machine=machine(device))


@dataclass(kw_only=True)
class Timing:
    """Seconds of each repeat of one variant, and its answers."""

    engine: str
    dtype: str
    questions: int
    prompt_tokens: int = 0
    seconds: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def row(self, others: Sequence["Timing"]) -> dict[str, object]:
        """Its numbers; compared with `others` on the same questions, where they are among them."""
        alike = [other for other in others if other.questions == self.questions]
        peers = [one for one in alike if (one.engine, one.dtype) == ("transformers", self.dtype)]
        median = statistics.median(self.seconds)
        return {
            "engine": self.engine,
            "dtype": self.dtype,
            "questions": self.questions,
            "prompt_tokens": self.prompt_tokens,
            "median_seconds": round(median, 3),
            "best_seconds": round(min(self.seconds), 3),
            "seconds_a_question": round(median / self.questions, 3),
            "times_transformers": round(statistics.median(peers[0].seconds) / median, 2) if peers else None,
            "answers_changed": sum(
                ours != theirs for ours, theirs in zip(self.answers, alike[0].answers, strict=True)
            ),
            "answers": self.answers,
        }


Ask = Callable[[Group], list[list[int]]]


def measure(
    models: dict[str, Pixtral],
    tokenizer: Tokenizer,
    image: NDArray[np.uint8],
    *,
    engines: Sequence[str],
    counts: Sequence[int],
    tokens: int,
    repeats: int,
    max_side: int,
) -> list[Timing]:
    """Each engine in each dtype, with each number of questions."""
    subjects = {(name, dtype): _subject(name, model) for dtype, model in models.items() for name in engines}
    timings = [
        Timing(engine=name, dtype=dtype, questions=count) for count in counts for name, dtype in subjects
    ]
    patch_size = next(iter(models.values())).config.vision.patch_size
    picture = ImagePlaceholder(*grid(*image.shape[:2], max_side=max_side, patch_size=patch_size))
    for repeat in range(repeats + 1):  # the first warms up
        for timing in timings:
            texts = [question_prompt(text) for text in islice(cycle(QUESTIONS), timing.questions)]
            prompt = tokenize(tokenizer, [about([picture], text) for text in texts])
            branches = [
                Branch(
                    id=str(index), ids=ids, max_new_tokens=tokens, sampling=SamplingParams(ignore_eos=True)
                )
                for index, ids in enumerate(prompt.branches)
            ]
            group = Group(
                id="page", prefix_ids=prompt.prefix, images=[image], branches=branches, max_side=max_side
            )
            ask = subjects[timing.engine, timing.dtype]()
            started = time.perf_counter()
            written = ask(group)
            if repeat:
                timing.seconds.append(time.perf_counter() - started)
            timing.answers = [tokenizer.decode(_ended(ids, tokenizer.eos)) for ids in written]
            timing.prompt_tokens = len(prompt.prefix) + len(prompt.branches[0])
    return timings


def _subject(name: str, model: Pixtral) -> Callable[[], Ask]:
    """Makes the subject of one timing: an engine that has seen no page."""
    if name == "transformers":
        from jobs.bench.transformers_baseline import Baseline  # seconds to import, and of the [test] extra

        baseline = Baseline(model)
        return lambda: baseline.answer
    kind = {"naive": ReferenceEngine, "batch": BatchEngine}[name]
    return lambda: _asking(kind(model, eos_id=-1))


def _asking(engine: Engine) -> Ask:
    def ask(group: Group) -> list[list[int]]:
        ids = engine.submit(group)
        done: dict[str, Completion] = {}
        while engine.pending:
            done |= {completion.id: completion for completion in engine.step()}
        return [done[id].token_ids for id in ids]

    return ask


def _ended(ids: list[int], eos: int) -> list[int]:
    """The answer up to where it would have ended, had its length not been forced."""
    return ids[: ids.index(eos)] if eos in ids else ids
