"""Counts in; a sentence on how far the work before a run has come, once every few seconds, out."""

import time
from collections.abc import Callable
from typing import Final

SECONDS: Final = 5.0  # between two sentences, and before the first: a small listing has none


class Progress:
    """What the search for documents says while it lasts."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last = time.monotonic()
        self._listed = self._compared = 0

    def listed(self, documents: int) -> None:
        """So many more files or rows were found."""
        self._listed += documents
        self._tell(f"listing: {self._listed:,} documents so far")

    def compared(self, rows: int) -> None:
        """So many more rows of the output were compared with the listing."""
        self._compared += rows
        self._tell(f"comparing with the output: {self._compared:,} of its rows so far")

    def _tell(self, sentence: str) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS:
            self._last = now
            self._say(sentence)
