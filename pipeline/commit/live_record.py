"""run.json while a run goes on: its counts, rate and time left, for whoever looks from outside.

In: the counts, as often as they change. Out: OUT/run.json, written over in one step once every half a minute.
`heartbeat.json` is another thing: it holds the lease, and is written when there is nothing to report.
"""

import logging
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from pipeline.commit.document_progress import Counts
from pipeline.commit.manifest import write_record
from pipeline.commit.pace import Pace
from pipeline.commit.tally import Tally

SECONDS: Final = 30.0  # between two states: on S3 each is a request

_log = logging.getLogger(__name__)


class LiveRecord:
    """The record of a run that goes on. Where it cannot be written, that is said, and the run goes on."""

    def __init__(self, output: str, record: dict[str, Any], tally: Tally) -> None:
        self._output = output
        self._record = record
        self._tally = tally
        self._pace = Pace()
        self._last = time.monotonic()
        self._failing = False

    def note(self, counts: Counts) -> None:
        """Where the run stands now."""
        self._pace.look(counts)
        if time.monotonic() - self._last < SECONDS:
            return
        progress = {
            "at": datetime.now(UTC).isoformat(),
            "counts": asdict(counts),
            "failures": dict(self._tally.failures),
            "pages_per_second": self._pace.pages_per_second,
            "seconds_left": self._pace.seconds_left,
        }
        try:
            write_record(self._output, self._record | {"progress": progress})
            self._failing = False
        except ValueError as error:
            if not self._failing:
                _log.warning("%s; the run goes on", error)
            self._failing = True
        self._last = time.monotonic()
