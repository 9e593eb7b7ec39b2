"""Notices when an answer has fallen into an endless loop. Token ids in, yes or no out; no torch.

In a loop, the answer ends with the same few tokens again and again. But documents repeat themselves too: a
column of zeros, a row of dots. So an end counts as a loop only if it has many repetitions and many tokens.
Where the answer is JSON, what repeats may be elements of a list, which end by themselves: an invoice may have
thirty equal lines. Commas outside of strings tell: within one value there are none, and the members of an
object have different names. So many more repetitions are allowed if each holds such a comma.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class RepetitionLimit:
    """An answer's end counts as a loop when it reaches both `times` and `tokens`."""

    longest: int = 64
    """Tokens of the longest period: repetitions of longer pieces are not noticed."""
    times: int = 8
    """Least number of repetitions."""
    tokens: int = 256
    """Least number of tokens of all repetitions together. "0 0 0 0", of two tokens a number, may go on for
    128 numbers."""
    elements: int = 256
    """Least number of repetitions, if each holds an element of a JSON list: more than four pages have lines.
    A list that does not end is cut by `max_new_tokens` before, if that is not high."""

    def __post_init__(self) -> None:
        if self.longest < 1 or min(self.times, self.tokens, self.elements) < 2:
            raise ValueError(f"{self}: longest must be at least 1, times, tokens and elements at least 2")


class RepetitionGuard:
    """Watches one answer, token by token, in a time that does not depend on its length."""

    def __init__(self, limit: RepetitionLimit) -> None:
        periods = np.arange(1, limit.longest + 1)
        self._periods = periods
        self._needed = np.maximum(periods * limit.times, limit.tokens)
        self._needed_of_elements = np.maximum(periods * limit.elements, limit.tokens)
        self._since = limit.longest  # tokens behind the last one with a comma between elements, or so many
        self._recent = np.full(limit.longest, -1)  # the last tokens, the newest first
        # Index n - 1 is for the period n: the length of the longest end of the answer that has this period.
        # The last n tokens alone have any period of n, so a length is never below n. Example: after "a b c b
        # c", the length for the period 2 is 4 ("b c b c"), and for the period 1 it is 1 ("c").
        self._lengths = periods

    def loops(self, token: int, has_comma: bool = False) -> bool:
        """Whether the answer, with this token, ends in a loop.

        `has_comma`: the answer is JSON, and the token holds a comma outside of its strings.
        """
        self._lengths = np.where(self._recent == token, self._lengths + 1, self._periods)
        self._recent[1:] = self._recent[:-1]
        self._recent[0] = token
        self._since = 0 if has_comma else self._since + 1
        needed = np.where(self._periods > self._since, self._needed_of_elements, self._needed)
        return bool((self._lengths >= needed).any())
