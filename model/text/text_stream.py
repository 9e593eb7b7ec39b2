"""The text of an answer while its tokens come: what is sure is given out, piece by piece. No torch.

In: token ids, as they are written. Out: text. Held back is what may still change: bytes of a character that
is not whole, and what may become a stop string, which is no part of the answer.
"""

import codecs
from collections.abc import Callable, Sequence


class TextStream:
    """The text of one answer, of which each piece is given out once."""

    def __init__(self, token_bytes: Callable[[int], bytes], stop: Sequence[str] = ()) -> None:
        self._token_bytes = token_bytes
        self._held = max((len(text.encode()) - 1 for text in stop), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._tokens = 0  # that were taken
        self._data = b""  # that was taken and not given out
        self._given = 0  # characters
        self.sure = 0
        """Bytes of the answer that cannot become a part of a stop string any more."""

    def take(self, token_ids: Sequence[int]) -> str:
        """The text that is sure by now, of all tokens of the answer so far."""
        self._data += b"".join(map(self._token_bytes, token_ids[self._tokens :]))
        self._tokens = len(token_ids)
        sure = max(0, len(self._data) - self._held)
        piece = self._decoder.decode(self._data[:sure])
        self._data = self._data[sure:]
        self.sure += sure
        self._given += len(piece)
        return piece

    def rest(self, text: str) -> str:
        """What is left of the answer, whose whole text this is."""
        return text[self._given :]


def answer_text(token_bytes: Callable[[int], bytes], token_ids: Sequence[int], stopped_at: int | None) -> str:
    """The text of a whole answer, which ends after `stopped_at` bytes if a stop string ended it."""
    return b"".join(map(token_bytes, token_ids))[:stopped_at].decode(errors="replace")
