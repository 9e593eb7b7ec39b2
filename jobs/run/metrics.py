"""What a run counts, for Prometheus: `--metrics-port`.

In: the counts, as often as they change. Out: a page of metrics over HTTP, for as long as the run lasts. It
names no document. The Replicas' own metrics are served by Ray (`pipeline.infer.replica_metrics`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pipeline.commit.document_progress import Counts
    from pipeline.commit.tally import Tally

HOST: Final = "127.0.0.1"  # unless another is given: whoever reaches the port reads the metrics
DOCUMENTS: Final = {  # states, by the field of Counts
    "documents": "listed",
    "documents_open": "opened",
    "documents_done": "done",
    "complete": "complete",
    "partial": "partial",
    "failed_documents": "failed",
}
ITEMS: Final = ("expected", "answered", "failed", "shared")


def parse_place(text: str) -> tuple[str, int]:
    """The value of --metrics-port: 9100 is ("127.0.0.1", 9100). Raises ValueError."""
    found = re.fullmatch(r"(?:([\w.-]+|\[[\w:.]+\]):)?(\d{1,5})", text, re.ASCII)
    if not found or not 0 < int(found[2]) < 2**16:
        raise ValueError(f"--metrics-port {text}: give a port, or HOST:PORT, such as 9100 or 0.0.0.0:9100")
    return (found[1] or HOST).strip("[]"), int(found[2])


class RunMetrics:
    """The metrics of one run, as a collector of prometheus_client's."""

    def __init__(self, counts: "Counts", tally: "Tally") -> None:
        from pipeline.commit.pace import Pace

        self._pace = Pace()
        self._counts, self._tally = counts, tally

    def look(self, counts: "Counts") -> None:
        """The counts as they are now."""
        self._counts = counts
        self._pace.look(counts)

    def collect(self) -> Iterator[Any]:
        """Each metric with its values."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        counts, tally = asdict(self._counts), self._tally
        documents = GaugeMetricFamily(
            "quire_run_documents", "Documents, with those of earlier runs, by state", labels=["state"]
        )
        for name, state in DOCUMENTS.items():
            documents.add_metric([state], counts[name])
        yield documents
        items = GaugeMetricFamily("quire_run_items", "Items of opened documents, by state", labels=["state"])
        for name in ITEMS:
            items.add_metric([name], counts[name])
        yield items
        waiting = counts["expected"] - counts["answered"] - counts["failed"]
        yield GaugeMetricFamily("quire_run_items_waiting", "Items that wait for an answer", value=waiting)
        pace = {
            "quire_run_pages_per_second": ("Pages a second since the first", self._pace.pages_per_second),
            "quire_run_seconds_left": ("Until the end, as it looks now", self._pace.seconds_left),
        }
        for name, (what, value) in pace.items():
            if value is not None:
                yield GaugeMetricFamily(name, what, value=value)
        yield CounterMetricFamily("quire_run_pages", "Pages with a result", value=counts["pages"])
        failures = CounterMetricFamily("quire_run_failures", "Failed items, by reason", labels=["reason"])
        for reason, count in dict(tally.failures).items():
            failures.add_metric([reason], count)
        yield failures
        tokens = {
            "prompt": "Tokens of prompts that were answered",
            "cached": "Those of them that had been computed before",
            "output": "Tokens of answers",
        }
        for name, what in tokens.items():
            yield CounterMetricFamily(
                f"quire_run_{name}_tokens", what, value=getattr(tally, f"{name}_tokens")
            )


@contextmanager
def served(metrics: RunMetrics, place: tuple[str, int] | None) -> Iterator[None]:
    """Serves them while the context lasts, if there is a place. Raises ValueError: the port is taken."""
    if place is None:
        yield
        return
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    try:
        server, thread = start_http_server(place[1], addr=place[0], registry=registry)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ValueError(f"--metrics-port {place[0]}:{place[1]}: {why}; choose another port") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
