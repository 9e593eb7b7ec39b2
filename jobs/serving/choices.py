"""The text of one answer while it is written, and its tokens' log-probabilities, in step with each other.

In: what the engine tells of an answer. Out: pieces of text that are sure, each with the tokens of which it
consists. After a death of the engine an answer is written again: what comes again must be what was given out,
else the answer ends with an error, since a client cannot take back what it has read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.serving.errors import SERVER_ERROR, ApiError, refused
from model.engine.request import Completion, FinishReason, Progress
from model.text.text_stream import TextStream, answer_text

LEAST = -9999.0  # stands for a log-probability of minus infinity, as with OpenAI
# Of an answer that the client's request is the reason for, rather than the server.
_REFUSED = ("ValueError", "ContextLengthError")


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token of an answer."""

    data: bytes
    logprob: float
    start: int
    """Bytes of the answer before it."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The next part of an answer."""

    text: str
    tokens: list[Token]


class Choice:
    """One answer."""

    def __init__(self, token_bytes: Callable[[int], bytes], stop: Sequence[str]) -> None:
        self._token_bytes = token_bytes
        self._stream = TextStream(token_bytes, stop)
        self._ids: list[int] = []
        self._waiting: list[Token] = []  # whose text is not sure
        self._bytes = 0
        self.completion: Completion | None = None

    def write(self, progress: Progress) -> Piece:
        """What is sure by now. Raises ApiError 500 if the answer is another one than before."""
        self._take(progress.start, progress.token_ids, progress.logprobs)
        text = self._stream.take(self._ids)
        return Piece(text=text, tokens=self._sure(self._stream.sure))

    def finish(self, completion: Completion) -> Piece:
        """The rest. Raises ApiError: the answer is an error, or as above."""
        if completion.finish_reason == "error":
            raise failure(completion.error or "the answer failed")
        if len(completion.token_ids) < len(self._ids):
            raise _another()
        self.completion = completion
        self._take(0, completion.token_ids, completion.logprobs)
        whole = answer_text(self._token_bytes, completion.token_ids, completion.stopped_at)
        end = self._bytes + 1 if completion.stopped_at is None else completion.stopped_at
        return Piece(text=self._stream.rest(whole), tokens=self._sure(end))

    def _take(self, start: int, ids: Sequence[int], logprobs: Sequence[float]) -> None:
        known = len(self._ids) - start
        if self._ids[start : start + len(ids)] != list(ids[:known]):
            raise _another()
        assert known >= 0, (known, start)
        for id, logprob in zip(ids[known:], logprobs[known:], strict=True):
            data = self._token_bytes(id)
            self._ids.append(id)
            self._waiting.append(Token(data=data, logprob=max(logprob, LEAST), start=self._bytes))
            self._bytes += len(data)

    def _sure(self, end: int) -> list[Token]:
        sure = [token for token in self._waiting if token.start < end]
        self._waiting = self._waiting[len(sure) :]
        return sure


def _another() -> ApiError:
    message = "the engine died, and wrote another answer than before: ask again"
    return ApiError(500, message, kind=SERVER_ERROR)


def failure(error: str) -> ApiError:
    """What a client is told of an engine's error: it is its own fault, or the server's."""
    kind, _, message = error.partition(": ")
    if kind in _REFUSED:
        code = "context_length_exceeded" if kind == "ContextLengthError" else None
        return refused(message, code=code)
    return ApiError(500, error, kind=SERVER_ERROR)


def reason(finish: FinishReason) -> str:
    """OpenAI's word: a loop that is cut, and JSON that cannot go on, are not complete, as at a limit."""
    return "stop" if finish == "stop" else "length"
