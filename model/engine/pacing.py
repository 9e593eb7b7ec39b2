"""How many tokens a step computes, so that prompts fill the cache as fast as finished answers empty it.

The faster prompts are computed, the longer are the steps after them in which sequences only decode. Such a
step reads all weights for one token a sequence. Example: a cache of 300,000 tokens, prompts of 3,200 and
answers of 256 give 87 sequences; 1,085 prompt tokens a step replace the sequences that end.
"""

from model.engine.sequences import GroupState, SequenceState

# A GPU reads all weights in every step: for fewer tokens than these it is not worth it.
_LEAST_PACE = 1024
_PACE_STEP = 128  # as the sizes of the graphs that replay mixed steps


class Pacer:
    """Knows how long answers are, from those that have finished."""

    def __init__(self, cache_tokens: int) -> None:
        self._cache_tokens = cache_tokens
        self._answer_tokens: float | None = None  # a moving average

    def finished(self, branch: SequenceState) -> None:
        """An answer is complete: those that follow are taken to be about as long."""
        tokens = branch.length - branch.prompt
        before = self._answer_tokens
        self._answer_tokens = tokens if before is None else 0.9 * before + 0.1 * tokens

    def tokens(self, upcoming: GroupState | None, decoding: int) -> int:
        """Tokens of a step in which so many branches decode; `upcoming` is the next group to be admitted.

        Until an answer has finished, answers are taken to be as long as they may be.
        """
        branches = [] if upcoming is None else upcoming.waiting
        answer = self._answer_tokens
        if answer is None:
            answer = max((one.limit - one.prompt for one in branches if one.limit is not None), default=1)
        # The part of a group's tokens in the cache that are its prompts; their prefix is there only once.
        share = 1.0
        if upcoming is not None and branches:
            prefix = upcoming.prefix.length
            prompts = prefix + sum(branch.prompt - prefix for branch in branches)
            share = prompts / (prompts + len(branches) * answer)
        pace = int(share * self._cache_tokens / max(1.0, answer)) + decoding
        return max(pace // _PACE_STEP * _PACE_STEP, _LEAST_PACE)
