"""Limits what a long run gathers: pages drawn ahead, results that wait for the driver, Ray Data's statistics.

Drawing runs ahead of the Replicas by twice the bytes that they work on, and stops while too many results wait
for the driver. Ray Data's own policy is not enough. It holds a stage back only once half of the stage's share
of the object store is full: a run over many pages would fill it. And it does not count results that wait in
the driver's own memory: over a hundred thousand pages, they grow to all that the cluster was faster than the
driver.

This policy holds one stage back, from the start: the stage that feeds the Replicas. The Replicas are never
held back, so they take the pages that were drawn, and drawing goes on. The statistics of every block are
thrown away: nobody asks for them here.
"""

from collections.abc import Iterable
from typing import Any

from ray.data import DataContext

from pipeline.ray_internals import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    ActorPoolMapOperator,
    DownstreamCapacityBackpressurePolicy,
    MapOperator,
)

RATIO = 2.0  # bytes of drawn pages that may wait for the Replicas, for each byte that they work on
WAITING = 32  # blocks of results, of some answers each, that may wait for the driver, for each Replica


class DrawnAhead(DownstreamCapacityBackpressurePolicy):
    """Ray Data asks it before each task and each block that it takes from one."""

    OBJECT_STORE_BUDGET_UTIL_THRESHOLD = 0.0

    def __init__(self, data_context: DataContext, topology: Any, resource_manager: Any) -> None:
        super().__init__(data_context, topology, resource_manager)
        for op in topology:
            if isinstance(op, MapOperator):
                op._output_blocks_stats = _Unkept()

    def _should_skip_backpressure(self, op: Any) -> bool:
        return _replicas(op) is None or bool(super()._should_skip_backpressure(op))

    def _should_apply_backpressure(self, op: Any) -> bool:
        replicas = _replicas(op)
        if replicas is not None and self._waiting(replicas) > WAITING:
            return True
        return bool(super()._should_apply_backpressure(op))

    def _waiting(self, replicas: Any) -> float:
        """Blocks of results that wait for the driver, divided by the running Replicas."""
        assert not replicas.output_dependencies, replicas.output_dependencies  # they are the last stage
        blocks = self._topology[replicas].total_enqueued_output_blocks()
        return float(blocks / max(1, replicas.get_actor_info().running))


class _Unkept(list[Any]):
    """A list that stays empty."""

    def extend(self, more: Iterable[Any]) -> None:
        """Forgets them."""


def _replicas(op: Any) -> Any | None:
    """The operator of the Replicas, if this one feeds them."""
    return next((one for one in op.output_dependencies if isinstance(one, ActorPoolMapOperator)), None)


def bound_drawing(context: DataContext) -> None:
    """Sets the policy for all that is executed in this context from here on."""
    context.downstream_capacity_backpressure_ratio = RATIO
    policies = [*ENABLED_BACKPRESSURE_POLICIES, DrawnAhead]
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, policies)
