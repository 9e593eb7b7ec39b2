"""A tensor-parallel group: several ranks of one Replica for one life, a placement group and its processes.

In: groups for rank 0. Out: its reports. If a rank dies, raises an error, or does not finish a step, the group
raises RanksLostError; after that only `close` makes sense, and a new life is a new group. The ranks reserve
no CPUs: those are for the stages that read and write, whose budget Ray Data keeps.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from model.engine.request import Group
from pipeline.infer.placement_groups import remove_group
from pipeline.infer.ranks import START_SECONDS, RanksLostError, Report, StepWatch
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.infer.tp_worker import TPWorker


class TPGroup:
    """Processes that answer with one model. The Supervisor makes it, and is not one of them."""

    def __init__(self, name: str, config: ReplicaConfig, closed: Event) -> None:
        """Waits for room on one node, however long, and for the model. `closed` calls it off.

        The placement group gets `name`: the supervisor's next life finds by it a group that is left over.
        """
        self._name = name
        self._config = config
        self._ranks: list[Any] = []
        self._reports: list[Any] = []
        self._loaded = False
        self._watch = StepWatch(config.step_seconds)
        self._bundle = {"GPU": 1.0} if config.gpus else dict(config.bundle)
        bundles = [self._bundle] * config.tensor_parallel
        self._group = placement_group(bundles, strategy="STRICT_PACK", name=name)
        try:
            self._start(closed)
        except BaseException:
            self.close()
            raise

    def _start(self, closed: Event) -> None:
        while not self._group.wait(timeout_seconds=1):
            if closed.is_set():
                raise RanksLostError("called off while waiting for room")
        bundle = dict(self._bundle)
        options = {
            "num_cpus": 0,
            "num_gpus": bundle.pop("GPU", 0),
            "memory": bundle.pop("memory", None),
            "resources": bundle,
            "max_restarts": 0,
            "max_concurrency": 4,  # of the calls of rank 0, one waits for something to report
        }
        actor: Any = ray.remote(TPWorker)
        for index in range(self._config.tensor_parallel):
            place = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=index)
            self._ranks.append(actor.options(scheduling_strategy=place, **options).remote(self._config))
        self._await([self._ranks[0].fetch.remote()], math.inf, closed)  # a download takes as long as it takes
        deadline = time.monotonic() + START_SECONDS
        address = self._await([self._ranks[0].address.remote()], deadline, closed)[0]
        starts = [rank.start.remote(index, address) for index, rank in enumerate(self._ranks)]
        # A rank that follows has an error while rank 0 starts, and rank 0 would wait for it in vain.
        self._reports = [self._ask(rank) for rank in self._ranks]
        self._await(starts, deadline, closed)
        self._loaded = True

    def _ask(self, rank: Any) -> Any:
        """Asks it for a report."""
        return rank.report.remote() if self._loaded else rank.start_report.remote()

    def _await(self, calls: list[Any], deadline: float, closed: Event) -> list[Any]:
        """Waits for all of these calls; the results. The first that fails, or a report of one, ends it."""
        waiting = list(calls)
        while waiting:
            done, waiting = ray.wait(waiting, timeout=0.5)
            for call in done:
                self._get(call)
            self._reported(seconds=0)
            if closed.is_set() or time.monotonic() > deadline:
                raise RanksLostError(f"not ready after {START_SECONDS:.0f} s, or called off")
        return [self._get(call) for call in calls]

    def check(self) -> None:
        """Raises RanksLostError if a rank has ended, or hangs."""
        for call in [rank.ping.remote() for rank in self._ranks]:
            self._get(call)

    def submit(self, groups: Sequence[Group]) -> None:
        """Asks rank 0."""
        self._watch.asked()
        self._ranks[0].submit.remote(groups)

    def abort(self, ids: Sequence[str]) -> None:
        """Calls branches off. Rank 0 is called in several threads: one that it has not seen yet goes on."""
        self._ranks[0].abort.remote(ids)

    def take(self, seconds: float) -> Report | None:
        """A rank's next report, or None after so many seconds; for as long as something is asked."""
        report = self._reported(seconds)
        if report is not None:
            self._watch.saw(report.steps)
        self._watch.check()
        return report

    def _reported(self, seconds: float) -> Report | None:
        """A rank's next report, or None after so many seconds. Raises RanksLostError with a rank's error."""
        done, _ = ray.wait(self._reports, timeout=seconds) if self._reports else ([], [])
        if not done:
            return None
        report: Report = self._get(done[0])
        index = self._reports.index(done[0])
        self._reports[index] = self._ask(self._ranks[index])
        return report

    def close(self) -> None:
        """Kills the processes, also those that hang, and gives their place back."""
        for rank in self._ranks:
            ray.kill(rank)
        remove_group(self._name)

    def _get(self, call: Any) -> Any:
        try:
            return ray.get(call, timeout=self._config.step_seconds)
        except GetTimeoutError:
            raise RanksLostError("a rank hangs") from None
        except RayError as error:
            raise RanksLostError(_reason(error)) from error


def _reason(error: RayError) -> str:
    """Example: LockstepError: rank 1 cannot follow: CUDA out of memory"""
    if isinstance(error, RayTaskError):
        return f"{type(error.cause).__name__}: {error.cause}"
    return str(error).partition("\n")[0]


def starter(config: ReplicaConfig) -> Callable[[Event], TPGroup]:
    """Starts the groups of this process, one life after the other; the one of a former life is removed.

    That is a Ray actor of a run, which may have had a life before, or a server.
    """
    context = ray.get_runtime_context()
    own = context.get_actor_id() if context.worker.mode == ray.WORKER_MODE else context.get_worker_id()
    name = f"{config.plan.run_id}-{own}"
    remove_group(name)
    return partial(TPGroup, name, config)
