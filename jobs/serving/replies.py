"""OpenAI's forms of an answer: whole, and in chunks. Nothing but dictionaries here."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.serving.choices import Piece, Token, reason
from model.engine.request import Completion

Json = dict[str, Any]


@dataclass(kw_only=True)
class Form:
    """How the answers to one request are written down."""

    chat: bool
    id: str
    model: str
    logprobs: bool
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[tuple[Piece, Completion]], prompts: int) -> Json:
        """The reply to a request that does not stream. `choices` are those of its prompts, one by one."""
        return {
            "id": self.id,
            "object": "chat.completion" if self.chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [
                self._content(piece, index)
                | {"finish_reason": reason(done.finish_reason), "stop_reason": _why(done)}
                for index, (piece, done) in enumerate(choices)
            ],
            "usage": usage([done for _, done in choices], prompts),
        }

    def _content(self, piece: Piece, index: int) -> Json:
        if self.chat:
            message = {"role": "assistant", "content": piece.text, "refusal": None}
            return {"index": index, "message": message, "logprobs": self._logprobs(piece, 0)}
        return {"index": index, "text": piece.text, "logprobs": self._logprobs(piece, 0)}

    def first(self, index: int) -> Json:
        """The chunk that says who speaks."""
        return self._chunk(index, {"role": "assistant", "content": ""}, None, None)

    def piece(self, index: int, piece: Piece, offset: int) -> Json:
        """A chunk of text, which has so many characters of the answer before it."""
        what: Any = {"content": piece.text} if self.chat else piece.text
        return self._chunk(index, what, self._logprobs(piece, offset), None)

    def last(self, index: int, done: Completion) -> Json:
        """The chunk that ends a choice."""
        chunk = self._chunk(index, {} if self.chat else "", None, reason(done.finish_reason))
        chunk["choices"][0]["stop_reason"] = _why(done)
        return chunk

    def usage_chunk(self, done: Sequence[Completion], prompts: int) -> Json:
        """The chunk behind all choices."""
        return self._head() | {"choices": [], "usage": usage(done, prompts)}

    def _head(self) -> Json:
        return {
            "id": self.id,
            "object": "chat.completion.chunk" if self.chat else "text_completion",
            "created": self.created,
            "model": self.model,
        }

    def _chunk(self, index: int, what: Any, logprobs: Json | None, finish: str | None) -> Json:
        name = "delta" if self.chat else "text"
        choice = {"index": index, name: what, "logprobs": logprobs, "finish_reason": finish}
        return self._head() | {"choices": [choice]}

    def _logprobs(self, piece: Piece, offset: int) -> Json | None:
        if not self.logprobs:
            return None
        if self.chat:
            return {"content": list(map(_chat_token, piece.tokens)), "refusal": None}
        offsets = []
        for token in piece.tokens:
            offsets.append(offset)
            offset += len(_text(token))
        return {
            "tokens": list(map(_text, piece.tokens)),
            "token_logprobs": [token.logprob for token in piece.tokens],
            "top_logprobs": None,
            "text_offset": offsets,
        }


def usage(done: Sequence[Completion], prompts: int) -> Json:
    """Tokens: those of each prompt once, however many answers it has."""
    each = len(done) // prompts
    firsts = done[::each]
    prompt = sum(one.prompt_tokens for one in firsts)
    cached = sum(
        min(one.cached_tokens for one in done[start : start + each]) for start in range(0, len(done), each)
    )
    written = sum(len(one.token_ids) for one in done)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _why(done: Completion) -> str | None:
    """repetition and grammar, for which OpenAI has no word."""
    return done.finish_reason if done.finish_reason in ("repetition", "grammar") else None


def _chat_token(token: Token) -> Json:
    return {
        "token": _text(token),
        "logprob": token.logprob,
        "bytes": list(token.data),
        "top_logprobs": [],
    }


def _text(token: Token) -> str:
    return token.data.decode(errors="replace")
