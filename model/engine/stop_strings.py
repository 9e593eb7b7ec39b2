"""Notices when an answer holds one of its stop strings, over the borders of its tokens. Bytes in; no torch.

A stop string counts from its first byte: what the same token says before it belongs to the answer, and what
follows it does not. Example: with the stop string "END", the tokens "a", "bE", "NDc" leave the answer "ab".
"""

from collections.abc import Sequence


class StopStrings:
    """Watches one answer, token by token; keeps as many bytes of it as a stop string is long."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._stops = [text.encode() for text in texts]
        self._kept = max(map(len, self._stops), default=1) - 1
        self._end = b""  # of the answer so far
        self._before = 0  # bytes of the answer before that

    def find(self, token: bytes) -> int | None:
        """The bytes of the answer before the first stop string, once the token completes one; else None."""
        text = self._end + token
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            return self._before + min(found)
        self._end = text[max(0, len(text) - self._kept) :]
        self._before += len(text) - len(self._end)
        return None
