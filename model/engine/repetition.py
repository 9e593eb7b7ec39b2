"""Stops a model that has begun to repeat itself for ever. Token ids in, yes or no out; no torch.

A degenerate loop is the same few tokens over and over at the end of an answer. Documents repeat too: a column
of zeros, a row of dots. So only a long tail of many repetitions counts, and the limits say how long.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class RepetitionLimit:
    """A tail counts as a loop when both `times` and `tokens` are reached."""

    longest: int = 64
    """Tokens of the longest sequence whose repetition is looked for."""
    times: int = 8
    """So often the sequence stands at the answer's end, one after the other."""
    tokens: int = 256
    """So many tokens these repetitions are together: "0 0 0 0" may go on for 128 numbers of two tokens."""

    def __post_init__(self) -> None:
        if self.longest < 1 or self.times < 2 or self.tokens < 2:
            raise ValueError(f"{self}: longest must be at least 1, times and tokens at least 2")


class RepetitionGuard:
    """Watches one answer, token by token, in a time that does not depend on its length."""

    def __init__(self, limit: RepetitionLimit) -> None:
        self._needed = np.maximum(np.arange(1, limit.longest + 1) * limit.times, limit.tokens)
        self._recent = np.full(limit.longest, -1)  # the last tokens, the newest first
        # Index n - 1: how long the answer's tail is in which each token equals the one n before it. At first
        # the n tokens before it count, which nothing is compared with.
        self._tails = np.arange(1, limit.longest + 1)

    def loops(self, token: int) -> bool:
        """Whether the answer, with this token, ends in a loop."""
        periods = np.arange(1, len(self._tails) + 1)
        self._tails = np.where(self._recent == token, self._tails + 1, periods)
        self._recent[1:] = self._recent[:-1]
        self._recent[0] = token
        return bool((self._tails >= self._needed).any())
