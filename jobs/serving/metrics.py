"""What the server counts, in Prometheus's form."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """One server's."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "quire_requests", "Requests, by path and status", ["path", "status"], registry=registry
        )
        self.left = Counter("quire_clients_left", "Requests whose client left", registry=registry)
        self.prompt_tokens = Counter("quire_prompt_tokens", "Tokens of prompts", registry=registry)
        self.cached_tokens = Counter(
            "quire_cached_tokens", "Those of them that had been computed before", registry=registry
        )
        self.written_tokens = Counter("quire_written_tokens", "Tokens of answers", registry=registry)
        self.answers = Counter(
            "quire_answers", "Answers that are complete, by their end", ["finish_reason"], registry=registry
        )
        self.in_work = Gauge("quire_answers_in_work", "Answers asked and not complete", registry=registry)
        self.held = Gauge("quire_held_bytes", "Bytes of bodies and pixels in memory", registry=registry)
        self.first_token = Histogram(
            "quire_first_token_seconds",
            "From a request that streams to the first token of its answer",
            registry=registry,
            buckets=SECONDS,
        )
        self.whole = Histogram(
            "quire_request_seconds", "From a request to its end", registry=registry, buckets=SECONDS
        )

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)
