"""How fast an H200 answers, as docs/performance.md measured it; tokens in, seconds of one GPU out.

A workload's time is taken to be linear in the tokens of its prompts and of its answers. The two speeds are
those that come nearest to the four measured workloads of a precision, which lie within 10% of them.
"""

from dataclasses import dataclass
from typing import Final

MACHINE: Final = "H200"
SHAPE: Final = (5120, 40)  # width and layers of the decoder that was measured, Pixtral-12B's

# Tokens of a page's prompts, and of its answers; what W2's eight questions share counts once.
WORK: Final = {"W1": (3222, 16), "W2": (3222 + 7 * 20, 8 * 16), "W3": (3222, 256), "W4": (1960, 128)}
# Pages a second, by precision; fp8 with the cache in fp8, too.
MEASURED: Final = {
    "bfloat16": {"W1": 8.18, "W2": 57.1 / 8, "W3": 5.68, "W4": 11.36},
    "fp8": {"W1": 13.64, "W2": 87.9 / 8, "W3": 8.98, "W4": 18.84},
}
# How much faster so many GPUs are that share one copy of the model.
SPEEDUP: Final = {1: 1.0, 2: 1.79, 4: 2.78}


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one GPU, in seconds a token."""

    prompt: float
    answer: float

    def seconds(self, prompt_tokens: float, answer_tokens: float) -> float:
        """Of one GPU that computes nothing else."""
        return self.prompt * prompt_tokens + self.answer * answer_tokens


def precision_of(dtype: str) -> str | None:
    """Which of the measured ones a run with this --dtype has; None: none."""
    return {"auto": "bfloat16", "bfloat16": "bfloat16", "fp8": "fp8"}.get(dtype)


def speed_of(precision: str) -> Speed:
    """The speeds whose errors, relative to what was measured, have the least squares."""
    rows = [(prompt * pages, answer * pages) for prompt, answer, pages in _measured(precision)]
    pp, pa, aa = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    p, a = (sum(row[i] for row in rows) for i in (0, 1))
    determinant = pp * aa - pa * pa
    return Speed(prompt=(p * aa - a * pa) / determinant, answer=(a * pp - p * pa) / determinant)


def _measured(precision: str) -> list[tuple[float, float, float]]:
    return [(*WORK[name], pages) for name, pages in MEASURED[precision].items()]
