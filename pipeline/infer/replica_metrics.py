"""What a Replica counts, for Prometheus, through Ray's own metrics.

In: the groups that a call brings, and their completions. Out: metrics that Ray serves on each machine of a
cluster, under these names with `ray_` before them, and `_total` behind those of counters. A private Ray keeps
none.
"""

from collections import Counter as Count
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Final

from ray.util.metrics import Counter, Gauge

from model.engine.request import Completion, Group

WAITING: Final = "quire_replica_prompts_in_work"
ANSWERS: Final = "quire_replica_answers"
PROMPT_TOKENS: Final = "quire_replica_prompt_tokens"
CACHED_TOKENS: Final = "quire_replica_cached_tokens"
OUTPUT_TOKENS: Final = "quire_replica_output_tokens"
PAGES: Final = "quire_replica_pages"
BUSY: Final = "quire_replica_busy_seconds"
IDLE: Final = "quire_replica_idle_seconds"

# As Prometheus sees them.
EXPORTED: Final = (
    f"ray_{WAITING}",
    *(
        f"ray_{name}_total"
        for name in (ANSWERS, PROMPT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS, PAGES, BUSY, IDLE)
    ),
)


class ReplicaMetrics:
    """Those of one Replica. Several threads may be in here: Ray's metrics lock for themselves."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting = 0
        self._in_work = Gauge(WAITING, "Prompts that the Replica was given and has not answered")
        self._answers = Counter(ANSWERS, "Answers, by their end", tag_keys=("finish_reason",))
        self._prompt_tokens = Counter(PROMPT_TOKENS, "Tokens of prompts")
        self._cached_tokens = Counter(CACHED_TOKENS, "Those of them that had been computed before")
        self._output_tokens = Counter(OUTPUT_TOKENS, "Tokens of answers")
        self._pages = Counter(PAGES, "Pages of prompts that were answered")
        self._busy = Counter(BUSY, "Seconds in which the engine computed")
        self._idle = Counter(IDLE, "Seconds in which it waited for pages")

    def came(self, prompts: int) -> None:
        """So many prompts more, or with a minus less, wait for their answers."""
        with self._lock:
            self._waiting += prompts
            self._in_work.set(self._waiting)

    def answered(
        self, groups: Sequence[Group], completions: Iterable[Completion], busy: float, idle: float
    ) -> None:
        """What a call has brought, and its seconds."""
        done = list(completions)
        for reason, count in Count(one.finish_reason for one in done).items():
            self._answers.inc(count, {"finish_reason": reason})
        for counter, amount in (
            (self._prompt_tokens, sum(one.prompt_tokens for one in done)),
            (self._cached_tokens, sum(one.cached_tokens for one in done)),
            (self._output_tokens, sum(len(one.token_ids) for one in done)),
            (self._pages, sum(len(group.images) for group in groups)),
            (self._busy, busy),
            (self._idle, idle),
        ):
            if amount > 0:  # Ray refuses none
                counter.inc(amount)
