"""Constrained decoding: which tokens may come next, so that an answer is JSON of a given schema. No torch.

In: JSON schemas, and the tokens that were chosen so far. Out: bitmasks over the vocabulary, int32 words of 32
tokens each, the lowest bit first. Control tokens are never allowed, except the end of sequence once the JSON
is complete. The engine applies the masks to logits; log-probabilities are those before the mask. llguidance
does the work (Rust, without Python's lock); `json_schema` writes the grammar of a schema for it.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLTokenizer, TokenizerWrapper
from llguidance.numpy import fill_next_token_bitmask, fill_next_token_bitmask_par
from numpy.typing import NDArray

from model.text.json_commas import JsonCommas
from model.text.json_schema import patterns, to_lark
from model.text.tokenizer import Tokenizer

NOT_ALLOWED = "doesn't satisfy the grammar"  # llguidance's words
KEPT = 64  # compiled grammars: a server may be given a new one with each request
GRAMMAR_VERSION = 1  # counts up when the same schema allows other texts; part of the settings key


class Grammars:
    """The grammars over the tokens of one tokenizer. Compiling one takes milliseconds: the last are kept."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Takes half a second for 131,072 tokens."""
        self.vocab_size = tokenizer.vocab_size
        self._names = [tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size)]
        self._tokens = LLTokenizer(
            TokenizerWrapper(_Tokens(tokenizer, self._names)),
            n_vocab=tokenizer.vocab_size,
            slices=LLTokenizer.json_slices(),
        )
        self._fresh = lru_cache(KEPT)(self._compile)
        self._executor = LLExecutor()

    def matcher(self, json_schema: str) -> "Matcher":
        """A matcher at the beginning of the JSON. ValueError for a schema whose values cannot be decoded."""
        return Matcher(self._fresh(json_schema).deep_copy(), self._names)

    def _compile(self, json_schema: str) -> LLMatcher:
        return LLMatcher(self._tokens, check_schema(json_schema), log_level=0)

    def new_masks(self, rows: int) -> NDArray[np.int32]:
        """(rows, ceil(V / 32)) int32, in which no token is allowed."""
        return np.zeros((rows, -(-self.vocab_size // 32)), np.int32)

    def fill(self, matchers: Sequence["Matcher | None"], masks_RW: NDArray[np.int32]) -> None:
        """Fills row r with the mask of matcher r, in several threads. No matcher: all tokens are allowed.

        A matcher that allows no token is `stuck` afterwards.
        """
        constrained = [(matcher, row) for row, matcher in enumerate(matchers) if matcher is not None]
        masks_RW[: len(matchers)] = -1
        fill_next_token_bitmask_par(
            self._executor, [(matcher.inner, row) for matcher, row in constrained], masks_RW
        )
        for matcher, row in constrained:
            if matcher.stuck:
                masks_RW[row] = 0


class Matcher:
    """The state of one sequence in its grammar. To be used by one thread at a time."""

    def __init__(self, inner: LLMatcher, names: Sequence[bytes]) -> None:
        """`names`: the bytes of each token."""
        self.inner = inner
        self.has_comma = False
        """The last token holds a comma outside of the JSON's strings."""
        self._names = names
        self._commas = JsonCommas()

    def fill(self, mask_W: NDArray[np.int32]) -> None:
        """Fills the mask of tokens that may come next. If there are none, the matcher is `stuck`."""
        fill_next_token_bitmask(self.inner, mask_W[None])
        if self.stuck:
            mask_W[:] = 0

    def accept(self, token: int) -> None:
        """Moves past a token that the last mask allowed. The matcher may be `stuck` afterwards."""
        self.has_comma = self._commas.passes(self._names[token])
        accepted = self.inner.consume_token(token)
        assert accepted or NOT_ALLOWED not in self.why_stuck, f"token {token}: {self.why_stuck}"

    @property
    def is_complete(self) -> bool:
        """The JSON is complete: only the end of sequence can follow."""
        return self.inner.is_stopped() and not self.stuck

    @property
    def stuck(self) -> bool:
        """No token can follow: none fits the schema, or llguidance has reached the limits of its work."""
        return self.inner.is_error()

    @property
    def why_stuck(self) -> str:
        """The reason in one line; empty unless the matcher is stuck."""
        return self.inner.get_error().partition("\n")[0]


def check_schema(json_schema: str) -> str:
    """llguidance's grammar for a schema; needs no tokenizer. ValueError if its values cannot be decoded."""
    schema = json.loads(json_schema, parse_float=Decimal)
    grammar = LLMatcher.grammar_from_lark(to_lark(schema))
    error = _error(grammar)
    if error:
        for path, field in patterns(schema):
            if why := _error(LLMatcher.grammar_from_lark(to_lark(field))):
                why = why.rpartition("JSON schema: ")[2].rstrip(":")
                raise ValueError(
                    f"the JSON schema cannot be decoded: field {path!r} has the pattern "
                    f"{field['pattern']!r}: {why}; write one that allows some text, without look-around, "
                    "\\b, and ^ or $ in its middle"
                )
        raise ValueError(f"the JSON schema cannot be decoded: {error}")
    return grammar


def _error(grammar: str) -> str:
    """Why llguidance cannot use a grammar, in a line; empty if it can."""
    is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    return messages[0].splitlines()[0] if is_error else ""


class _Tokens:
    """Our tokenizer in the form that llguidance expects."""

    def __init__(self, tokenizer: Tokenizer, names: Sequence[bytes]) -> None:
        self.special_token_ids = [id for id, name in enumerate(names) if not name]
        self.tokens = [name or f"<{id}>".encode() for id, name in enumerate(names)]
        self.eos_token_id = tokenizer.eos
        self.bos_token_id = tokenizer.bos
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)
