"""A run of `jobs.extract` whose engine answers at once, in a process of its own.

In: the flags of jobs.extract. Out: a JSON file of what the run took. Everything else is the real thing:
listing, Ray, the sandbox, drawing, the Replica's calls, tables. `jobs.bench.documents` hands this source to a
Python that may have another checkout of the repository on its path; so it names little of what it drives, and
imports nothing of this checkout.
"""

import json
import resource
import sys
from collections.abc import Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

ANSWER = [1000 + letter for letter in b"42"]  # tokens: those of single bytes follow the special ones


class AtOnce:
    """A Replica's worker, which answers whatever it is asked as it is asked it."""

    def __init__(self, calls: Any) -> None:
        self._calls = calls

    def submit(self, groups: Sequence[Any]) -> None:
        """Delivers their completions."""
        # The class of completions, wherever this checkout has it: beside the class of groups.
        beside: Any = sys.modules[type(groups[0]).__module__]
        answers = [
            beside.Completion(
                id=branch.id,
                token_ids=ANSWER,
                logprobs=[-0.01] * len(ANSWER),
                finish_reason="stop",
                prompt_tokens=len(group.prefix_ids) + len(branch.ids),
                cached_tokens=0,
            )
            for group in groups
            for branch in group.branches
        ]
        # Checkouts since answers are streamed also want the progress of those that are not finished.
        no_progress = [()] * (len(signature(self._calls.deliver).parameters) - 2)
        self._calls.deliver(answers, 0.0, *no_progress)

    def close(self) -> None:
        """There is nothing to end."""


def without_engine(replica: Any) -> Any:
    """A checkout's Replica with `AtOnce` in the place of its worker."""

    def start(self: Any, config: Any) -> None:
        module: Any = sys.modules[replica.__module__]
        if hasattr(module, "_worker"):  # checkouts of before Replica.start_worker
            module._worker = lambda config, calls: AtOnce(calls)
        replica.__init__(self, config)

    methods = {"__init__": start, "start_worker": lambda self, config, calls: AtOnce(calls)}
    return type("Replica", (replica,), methods)


def main(report: Path, flags: list[str]) -> int:
    """Returns the exit code of jobs.extract."""
    flow: Any = import_module("pipeline.flow")
    flow.Replica = without_engine(flow.Replica)
    code: int = import_module("jobs.extract").main(flags)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    report.write_text(json.dumps({"driver_seconds": usage.ru_utime + usage.ru_stime}))
    return code
