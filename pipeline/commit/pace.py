"""Counts in; pages a second and the seconds that are left out."""

import time

from pipeline.commit.document_progress import Counts


class Pace:
    """Measured from the first result on: loading a model is no page."""

    def __init__(self) -> None:
        self._first: tuple[float, int, int] | None = None
        self.pages_per_second: float | None = None
        """None in the first second."""
        self.seconds_left: float | None = None
        """Documents that are not opened yet are taken to have as many items as the others."""

    def look(self, counts: Counts) -> None:
        """The counts as they are now."""
        done = counts.answered + counts.failed
        if done and self._first is None:
            self._first = (time.monotonic(), counts.pages, done)
        if self._first is None:
            return
        start, pages, items = self._first
        elapsed = time.monotonic() - start
        if elapsed > 1 and counts.pages > pages:
            self.pages_per_second = (counts.pages - pages) / elapsed
        if elapsed > 1 and done > items and counts.documents_open:
            expected = counts.expected * counts.documents / counts.documents_open
            self.seconds_left = max(0.0, (expected - done) * elapsed / (done - items))
