"""The log-probabilities of an answer's tokens in; how sure the model was of each value in its text, out.

Confidence of a value = exp(sum of the log-probabilities of its tokens). A token that straddles its edge
counts, and so do a string's quotes: they tell a string from null, and where it ends.
"""

import codecs
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from model.text.tokenizer import Tokenizer


def confidences(
    spans: Sequence[tuple[int, int]],
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    tokenizer: Tokenizer,
) -> list[float]:
    """Confidence of each span (characters of the decoded tokens), from 0 to 1."""
    assert len(token_ids) == len(logprobs), f"{len(token_ids)} tokens, {len(logprobs)} log-probabilities"
    places = token_places([tokenizer.token_bytes(token) for token in token_ids])
    starts, ends = [start for start, _ in places], [end for _, end in places]
    found = []
    for start, end in spans:
        overlapping = logprobs[bisect_right(ends, start) : bisect_left(starts, end)]
        found.append(min(1.0, math.exp(math.fsum(overlapping))))  # rounding may leave a sum above 0
    return found


def token_places(tokens: Sequence[bytes]) -> list[tuple[int, int]]:
    """The characters (start, end) of the text to which each token contributes a byte.

    A character in two tokens belongs to both: "é!" as b"\\xc3", b"\\xa9!" gives (0, 1), (0, 2).
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    places, written, pending = [], 0, 0
    for token in tokens:
        start = written
        written += len(decoder.decode(token))
        pending = 1 if decoder.getstate()[0] else 0
        places.append((start, written + pending))
    return places
