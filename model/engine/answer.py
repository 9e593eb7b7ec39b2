"""An answer in the making: tokens in, one by one, until there is a reason to stop. Both engines use it."""

import math
from collections.abc import Callable

from model.engine.repetition import RepetitionGuard, RepetitionLimit
from model.engine.request import Branch, FinishReason
from model.engine.stop_strings import StopStrings
from model.text.grammar import Grammars, Matcher

TokenBytes = Callable[[int], bytes]  # what a token id stands for


class Answer:
    """The tokens of a branch's answer so far, the state of its grammar, and its reasons to end."""

    def __init__(
        self,
        branch: Branch,
        *,
        eos_id: int,
        limit: RepetitionLimit,
        grammars: Grammars | None,
        token_bytes: TokenBytes | None,
    ) -> None:
        """ValueError when its grammar or its stop strings cannot be used."""
        self.branch = branch
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.has_ended = False
        self.stopped_at: int | None = None
        """Bytes of the answer before the stop string that ended it."""
        self.matcher: Matcher | None = None
        if branch.grammar is not None:
            if grammars is None:
                raise ValueError("the request has a grammar, and the engine was made without grammars")
            self.matcher = grammars.matcher(branch.grammar)
        if branch.stop and token_bytes is None:
            raise ValueError("the request has stop strings, and the engine was made without token_bytes")
        self._token_bytes = token_bytes
        self._stop = StopStrings(branch.stop) if branch.stop else None
        self._eos_id = eos_id
        self._guard = RepetitionGuard(limit)

    @property
    def why_stuck(self) -> str | None:
        """Why no token could follow, after finish_reason "grammar"."""
        return self.matcher.why_stuck if self.matcher is not None and self.matcher.stuck else None

    def take(self, token: int, logprob: float) -> FinishReason | None:
        """Appends the token; returns why the answer ends with it, if it does.

        ValueError when the model's logits are not finite. If the grammar's last mask allowed no token, the
        answer ends and `token` is ignored.
        """
        try:
            reason = self._take(token, logprob)
        except ValueError:
            self.has_ended = True
            raise
        self.has_ended = reason is not None
        return reason

    def _take(self, token: int, logprob: float) -> FinishReason | None:
        if math.isnan(logprob):
            raise ValueError(
                "the model's logits are not finite: its weights or its dtype do not fit this prompt"
            )
        if self.matcher is not None and self.matcher.stuck:
            return "grammar"
        if token == self._eos_id and not self.branch.sampling.ignore_eos:
            return "stop"
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        if self.matcher is not None:
            self.matcher.accept(token)
            if self.matcher.is_complete:
                return "stop"  # only the end of sequence could follow: no forward pass is needed for it
        if self._stop is not None and self._token_bytes is not None:
            self.stopped_at = self._stop.find(self._token_bytes(token))
            if self.stopped_at is not None:
                return "stop"
        if len(self.token_ids) == self.branch.max_new_tokens:
            return "length"
        has_comma = self.matcher is not None and self.matcher.has_comma
        return "repetition" if self._guard.loops(token, has_comma) else None


def check_grammars(grammars: Grammars | None, vocab_size: int) -> None:
    """ValueError if the grammars are made for another vocabulary than the model's."""
    if grammars is not None and grammars.vocab_size != vocab_size:
        raise ValueError(
            f"the grammars are over {grammars.vocab_size} tokens, the model has {vocab_size}: "
            "give Tokenizer.from_file the model's vocab_size"
        )
