"""The four workloads of the engine benchmark, on one engine, from PIL images in memory to tokens.

In: an engine with a model of any shape. Out: its seconds, its answers, and the GPU's power and clock
meanwhile. A page is a picture of words, drawn before anything is timed; an answer has a forced length.
Operations are counted as the work needs them, each page's prompt once: an engine that computes more is
slower, and gets no credit for it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from PIL import Image

from jobs.bench.gpu import Monitor
from jobs.bench.page_images import draw_page
from model.config import PixtralConfig
from model.engine.engine import BatchEngine
from model.engine.repetition import RepetitionLimit
from model.engine.request import Branch, Completion, Group
from model.engine.sampling_params import SamplingParams
from model.text.tokenizer import Tokenizer

NO_GUARD = RepetitionLimit(tokens=10**9)  # random weights repeat themselves
QUESTION = 19  # tokens of a question; [/INST] makes it 20
_AHEAD = 12  # groups handed over before a step: their pixels are taken out while the device computes


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Pages, the questions on each, and the answers' length."""

    pages: int
    width: int
    """Of a page in pixels."""
    height: int
    questions: int
    """On each page."""
    tokens: int
    """Of each answer."""
    chart: bool = False
    """Bars instead of words."""

    def scaled(self, share: float) -> "Workload":
        """With a share of the pages."""
        return Workload(**{**vars(self), "pages": max(1, round(self.pages * share))})


WORKLOADS = {
    "W1": Workload(pages=256, width=784, height=1024, questions=1, tokens=16),
    "W2": Workload(pages=64, width=784, height=1024, questions=8, tokens=16),
    "W3": Workload(pages=256, width=784, height=1024, questions=1, tokens=256),
    "W4": Workload(pages=512, width=800, height=608, questions=1, tokens=128, chart=True),
}


@dataclass(kw_only=True)
class Measured:
    """One run of a workload."""

    seconds: float
    completions: list[Completion] = field(default_factory=list)
    waited: float | None = None
    """Seconds for which the GPU had nothing to do between steps."""
    watts: float | None = None
    megahertz: float | None = None
    preemptions: int = 0

    def row(
        self, name: str, work: Workload, config: PixtralConfig, ceiling: float | None
    ) -> dict[str, object]:
        """Its numbers. `ceiling` is the machine's matrix products' speed in TFLOP/s."""
        count = work.pages * work.questions
        prompt = self.completions[0].prompt_tokens
        operations = operations_of(work, config, prompt)
        tflops = operations / self.seconds / 1e12
        return {
            "workload": name,
            "seconds": round(self.seconds, 2),
            "pages_per_second": round(work.pages / self.seconds, 2),
            "questions_per_second": round(count / self.seconds, 2),
            "tokens_per_second": round(count * (prompt + work.tokens) / self.seconds),
            "tflops": round(tflops, 3),
            "of_ceiling": None if ceiling is None else round(tflops / ceiling, 3),
            "gpu_waited": None if self.waited is None else round(self.waited, 2),
            "watts": None if self.watts is None else round(self.watts),
            "megahertz": None if self.megahertz is None else round(self.megahertz),
            "preemptions": self.preemptions,
        }


def operations_of(work: Workload, config: PixtralConfig, prompt: int) -> float:
    """Operations that prompts of `prompt` tokens need, a page's own ones once; a multiply-add is two."""
    vision = config.vision
    patches = work.width // vision.patch_size * (work.height // vision.patch_size)
    heads = config.n_heads * config.head_dim
    block = config.dim * (2 * heads + 2 * config.n_kv_heads * config.head_dim + 3 * config.hidden_dim)
    questions = work.pages * work.questions
    prefix = prompt - QUESTION - 1
    computed = work.pages * prefix + questions * (QUESTION + work.tokens)
    products = (
        2 * config.n_layers * block * computed + 2 * config.dim * config.vocab_size * questions * work.tokens
    )
    end = prompt + work.tokens
    seen = work.pages * prefix**2 / 2 + questions * (end**2 - prefix**2) / 2
    attention = 4 * heads * config.n_layers * seen
    wide = vision.hidden_size
    encoder = vision.num_hidden_layers * (4 * wide * wide + 3 * wide * vision.intermediate_size)
    encoder += vision.num_channels * vision.patch_size**2 * wide + wide * config.dim + config.dim**2
    pictures = work.pages * (2 * encoder * patches + 4 * wide * vision.num_hidden_layers * patches**2)
    return float(products + attention + pictures)


def draw_pages(work: Workload, seed: str) -> list[Image.Image]:
    """Different pages, the same for the same seed."""
    return [
        draw_page(work.width, work.height, f"{seed}/{number}", chart=work.chart)
        for number in range(work.pages)
    ]


def run_workload(
    engine: BatchEngine,
    work: Workload,
    pages: Sequence[Image.Image],
    tokenizer: Tokenizer,
    patch_size: int,
    report: Callable[[int], None] = lambda answered: None,
) -> Measured:
    """Answers all questions of all pages; calls `report` after each step with the number of answers."""
    groups = _groups(work, pages, tokenizer, patch_size)
    before = engine.preemptions
    engine.timeline = [] if torch.cuda.is_available() else None
    with Monitor() as monitor:
        started = time.perf_counter()
        done: list[Completion] = []
        left = work.pages
        while left or engine.pending:
            for group in islice(groups, _AHEAD):
                engine.submit(group)
                left -= 1
            done += engine.step()
            report(len(done))
        seconds = time.perf_counter() - started
    assert len(done) == work.pages * work.questions, len(done)
    errors = [one.error for one in done if one.error]
    if errors:
        raise ValueError(f"{len(errors)} of {len(done)} questions could not be asked: {errors[0]}")
    assert all(len(one.token_ids) == work.tokens for one in done), work
    measured = Measured(seconds=seconds, completions=done, preemptions=engine.preemptions - before)
    if engine.timeline:
        ends = [end for _, end in engine.timeline]
        starts = [start for start, _ in engine.timeline]
        torch.cuda.synchronize()
        gaps = [end.elapsed_time(start) for end, start in zip(ends, starts[1:], strict=False)]
        measured.waited = sum(gaps) / 1e3
        measured.watts, measured.megahertz = monitor.means()
    engine.timeline = None
    return measured


def _groups(
    work: Workload, pages: Sequence[Image.Image], tokenizer: Tokenizer, patch_size: int
) -> Iterator[Group]:
    rows, columns = work.height // patch_size, work.width // patch_size
    picture = tokenizer.image_ids(rows, columns)
    text = next(id for id in range(tokenizer.vocab_size) if tokenizer.token_bytes(id))
    for number, page in enumerate(pages):
        branches = [
            Branch(
                id=f"{number}/{question}",
                ids=[
                    *(text + (question * 31 + place) % 199 for place in range(QUESTION)),
                    tokenizer.inst_end,
                ],
                max_new_tokens=work.tokens,
                sampling=SamplingParams(ignore_eos=True),
            )
            for question in range(work.questions)
        ]
        yield Group(
            id=str(number),
            prefix_ids=[tokenizer.bos, tokenizer.inst, *picture],
            images=[np.asarray(page)],
            branches=branches,
            max_side=max(work.width, work.height),
        )
