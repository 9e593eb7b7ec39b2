"""What a run over many pages must not gather: pages that are drawn ahead, results, and what Ray Data notes.

Drawing runs ahead by twice what the Replicas work on, and not while results wait for the driver.

Ray Data holds a stage back when the next one falls behind, but only once half of the stage's share of the
object store is full: a run over many pages would fill it, one over few would not. And what waits for the
driver, which is small, lies in its own memory: over a hundred thousand pages, all that the cluster was faster
than the driver. This policy holds back from the start, and the stage alone that feeds the Replicas: nothing
ever holds these back, so they take what was drawn, and drawing goes on. The statistics of every block, which
nobody asks for here, are not kept.
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

RATIO = 2.0  # of what waits for the Replicas to what they work on, in bytes
WAITING = 32  # blocks of results for each Replica, of some answers each, that the driver has not taken


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
        """Blocks that have come out of the Replicas, and that the driver has not taken, for each of them."""
        blocks, op = 0, replicas
        while op.output_dependencies:
            [op] = op.output_dependencies
            blocks += self._topology[op].total_enqueued_input_blocks()
        blocks += self._topology[op].total_enqueued_output_blocks()
        return float(blocks / max(1, replicas.get_actor_info().running))


class _Unkept(list[Any]):
    """A list that stays empty."""

    def extend(self, more: Iterable[Any]) -> None:
        """Forgets them."""


def _replicas(op: Any) -> Any | None:
    """The operator of the Replicas, if this one feeds them."""
    return next((one for one in op.output_dependencies if isinstance(one, ActorPoolMapOperator)), None)


def bound_drawing(context: DataContext) -> None:
    """For all that is executed in this context from here on."""
    context.downstream_capacity_backpressure_ratio = RATIO
    policies = [*ENABLED_BACKPRESSURE_POLICIES, DrawnAhead]
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, policies)
