"""Drawing waits for the Replicas and the driver, however much memory there is; Replicas wait for nobody."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from ray.data import DataContext
from ray.data._internal.execution.backpressure_policy import get_backpressure_policies
from ray.data._internal.execution.operators.actor_pool_map_operator import ActorPoolMapOperator

from pipeline.backpressure import WAITING, DrawnAhead, bound_drawing


def chain(drawn: int, working: int, results: int = 0, running: int = 1) -> tuple[DrawnAhead, Any, Any]:
    """The policy, the stage that draws and the Replicas: `drawn` bytes, of which they work on `working`, and
    blocks of answers that the driver has not taken."""
    replicas = Mock(spec=ActorPoolMapOperator, output_dependencies=[])
    replicas.metrics = SimpleNamespace(obj_store_mem_pending_task_inputs=working)
    replicas.get_actor_info.return_value = SimpleNamespace(running=running)
    drawing = Mock(output_dependencies=[replicas])
    resources = Mock()
    resources._is_blocking_materializing_op.return_value = False
    resources.get_downstream_eligible_ops.return_value = []
    resources.get_mem_op_outputs.return_value = drawn
    resources.get_op_usage.return_value = SimpleNamespace(object_store_memory=drawn)
    resources.get_budget.return_value = SimpleNamespace(object_store_memory=1 << 40)
    context = DataContext.get_current().copy()
    bound_drawing(context)
    queues = Mock()
    queues.total_enqueued_output_blocks.return_value = results
    *_, policy = get_backpressure_policies(context, {replicas: queues}, resources)
    assert isinstance(policy, DrawnAhead)
    return policy, drawing, replicas


@pytest.mark.parametrize(
    ("drawn", "working", "goes_on"),
    [
        (0, 0, True),
        (500, 0, True),  # the model is being loaded, or the Replicas wait
        (290, 100, True),
        (310, 100, False),
    ],
)
def test_drawing_waits_for_the_replicas(drawn: int, working: int, goes_on: bool) -> None:
    policy, drawing, _ = chain(drawn, working)
    assert policy.can_add_input(drawing) == goes_on
    assert policy.max_task_output_bytes_to_read(drawing) == (None if goes_on else 0)


@pytest.mark.parametrize(
    ("results", "running", "goes_on"),
    [
        (WAITING, 1, True),
        (WAITING + 1, 1, False),
        (WAITING + 1, 0, False),  # all have died
        (2 * WAITING, 2, True),
        (2 * WAITING + 1, 2, False),
    ],
)
def test_drawing_waits_for_the_driver(results: int, running: int, goes_on: bool) -> None:
    policy, drawing, _ = chain(0, 0, results, running)
    assert policy.can_add_input(drawing) == goes_on
    assert policy.max_task_output_bytes_to_read(drawing) == (None if goes_on else 0)


def test_replicas_never_wait() -> None:
    policy, _, replicas = chain(10_000, 1, 2 * WAITING)
    assert policy.can_add_input(replicas)
