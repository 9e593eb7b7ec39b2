"""A cluster gets the right Replicas."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from pipeline.config import FlowConfig
from pipeline.infer.placement import Placement, find_placement, plan_placement
from tests.pipeline.plans import QUESTIONS


@pytest.mark.parametrize(
    ("now", "later", "nodes", "replicas", "batch_size", "expected"),
    [
        ({"CPU": 2}, {}, 1, None, None, (1, 1, 0, 2, 8, 1)),
        ({"CPU": 1}, {}, 1, None, 3, (1, 1, 0, 1, 3, 1)),
        ({"CPU": 8}, {}, 1, 2, None, (2, 2, 0, 4, 8, 1)),
        ({"CPU": 8}, {}, 1, 16, None, (16, 16, 0, 1, 8, 1)),
        ({"CPU": 64}, {}, 4, None, None, (4, 4, 0, 16, 8, 1)),
        ({"CPU": 16, "GPU": 1}, {}, 1, None, None, (1, 1, 1, 1, 8, 32)),
        ({"CPU": 128, "GPU": 8}, {}, 1, 3, None, (3, 3, 1, 1, 8, 32)),
        ({"CPU": 0}, {"CPU": 192, "GPU": 8}, 0, None, None, (8, 1, 1, 1, 8, 32)),  # all is yet to be started
        ({"CPU": 32, "GPU": 2}, {"GPU": 8}, 2, None, 20, (8, 2, 1, 1, 20, 13)),
    ],
)
def test_replicas_for_a_cluster(
    now: Mapping[str, float],
    later: Mapping[str, float],
    nodes: int,
    replicas: int | None,
    batch_size: int | None,
    expected: tuple[int, ...],
) -> None:
    each = [{name: amount / nodes for name, amount in now.items()} for _ in range(nodes)]
    placement = plan_placement(now, later, each, replicas=replicas, batch_size=batch_size)
    count, ready, gpus, threads, size, calls = expected
    assert placement == Placement(
        replicas=count,
        ready=ready,
        tensor_parallel=1,
        gpus=gpus,
        threads=threads,
        batch_size=size,
        calls=calls,
    )


@pytest.mark.parametrize(
    ("nodes", "later", "size", "replicas", "expected"),
    [
        ([8], 0, 2, None, (4, 4)),
        ([8], 0, 4, 1, (1, 1)),
        ([4, 4], 0, 4, None, (2, 2)),
        ([3, 3], 0, 2, None, (2, 3)),  # a GPU of each machine is left over
        ([], 8, 4, None, (2, 1)),  # all is yet to be started
        ([4], 8, 4, 2, (2, 1)),
    ],
)
def test_replicas_of_several_gpus_are_each_in_one_machine(
    nodes: list[int], later: int, size: int, replicas: int | None, expected: tuple[int, int]
) -> None:
    each = [{"CPU": 8.0, "GPU": float(gpus)} for gpus in nodes]
    now = {"CPU": 8.0 * len(nodes), "GPU": float(sum(nodes))}
    placement = plan_placement(
        now, {"GPU": later}, each, replicas=replicas, batch_size=None, tensor_parallel=size
    )
    count, ready = expected
    assert (placement.replicas, placement.ready) == (count, min(ready, count))
    assert (placement.tensor_parallel, placement.gpus) == (size, 1)


def test_ranks_on_cpus_share_the_cores() -> None:
    placement = plan_placement({"CPU": 16}, {}, [{"CPU": 16}], replicas=2, batch_size=None, tensor_parallel=4)
    assert (placement.replicas, placement.gpus, placement.threads) == (2, 0, 2)


@pytest.mark.parametrize(
    ("nodes", "size", "replicas", "message"),
    [
        ([2], 1, 3, "--replicas 3: the cluster has 2 GPUs"),
        ([8], 4, 3, "--tensor-parallel 4 --replicas 3: the cluster has 8 GPUs, with room for 2 Replicas"),
        ([2, 2], 4, None, "--tensor-parallel 4: the cluster has 4 GPUs, with room for 0 Replicas"),
    ],
)
def test_more_than_the_gpus_hold_is_refused(
    nodes: list[int], size: int, replicas: int | None, message: str
) -> None:
    each = [{"CPU": 8.0, "GPU": float(gpus)} for gpus in nodes]
    with pytest.raises(ValueError, match=message):
        plan_placement(
            {"GPU": sum(nodes)}, {}, each, replicas=replicas, batch_size=None, tensor_parallel=size
        )


@pytest.mark.parametrize("changes", [{"dtype": "fp8"}, {"cache_dtype": "fp8"}])
def test_fp8_without_a_gpu_is_refused_before_a_model_is_loaded(
    changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr("pipeline.infer.placement.largest_cluster", dict)
    config = FlowConfig(inputs=("in",), output="out", model="model", questions=QUESTIONS)
    assert find_placement(config).gpus == 0
    with pytest.raises(ValueError, match="fp8 needs Hopper GPUs"):
        find_placement(replace(config, **changes))  # type: ignore[arg-type]  # texts, which these fields are
