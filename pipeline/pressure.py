"""How far drawing runs ahead of the Replicas: twice what they work on, however much memory there is.

Ray Data holds a stage back when the next one falls behind, but only once half of the stage's share of the
object store is full: a run over many pages would fill it, one over few would not. This policy does so from
the start, and for the stage alone that feeds the Replicas: nothing ever holds these back, so they take what
was drawn, and drawing goes on.
"""

from typing import Any

from ray.data import DataContext
from ray.data._internal.execution.backpressure_policy import (  # nothing public holds a stage back
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    DownstreamCapacityBackpressurePolicy,
)
from ray.data._internal.execution.operators.actor_pool_map_operator import ActorPoolMapOperator

RATIO = 2.0  # of what waits for the Replicas to what they work on, in bytes


class DrawnAhead(DownstreamCapacityBackpressurePolicy):
    """Ray Data asks it before each task and each block that it takes from one."""

    OBJECT_STORE_BUDGET_UTIL_THRESHOLD = 0.0

    def _should_skip_backpressure(self, op: Any) -> bool:
        feeds = any(isinstance(one, ActorPoolMapOperator) for one in op.output_dependencies)
        return not feeds or bool(super()._should_skip_backpressure(op))


def bound_drawing(context: DataContext) -> None:
    """For all that is executed in this context from here on."""
    context.downstream_capacity_backpressure_ratio = RATIO
    policies = [*ENABLED_BACKPRESSURE_POLICIES, DrawnAhead]
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, policies)
