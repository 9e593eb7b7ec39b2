"""The number of Replicas that a cluster runs, and the GPUs, threads and batches that each of them gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from pipeline.config import FlowConfig, check_fp8_gpus
from pipeline.ray_internals import largest_cluster

# Groups. A call costs Ray some 40 ms of computing, and a kilobyte or two in the driver and in its logs for as
# long as the run lasts: as much as a page of a small model, if each page is a call of its own.
BATCH = 8
# Groups that a Replica on a GPU works on at a time. About 96 sequences fit beside a 12B on 80 GB, and a call
# is only replaced when the last of its answers is written: with answers of 1 to 300 tokens, 256 groups in
# calls of 8 keep 88% of the sequences busy, 128 keep 47%, and 16 alone 5%. A page has up to 3 MB of pixels.
GPU_GROUPS = 256


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The number of Replicas, and the GPUs, threads and batches of each."""

    replicas: int
    """At most this many."""
    ready: int
    """With so many the run starts: a cluster that grows on demand has no GPU yet."""
    tensor_parallel: int
    """Ranks of one Replica, among which its model is shared out; 1: it is whole, in the Replica itself."""
    gpus: int
    """GPUs of one rank: 1, or 0 for Replicas on CPUs."""
    threads: int
    """Threads of torch in one rank on CPUs."""
    batch_size: int
    """Groups that a Replica is given at a time."""
    calls: int
    """Batches that a Replica works on side by side, so that it never waits for the last answers of one."""


def plan_placement(
    now: Mapping[str, float],
    later: Mapping[str, float],
    nodes: Sequence[Mapping[str, float]],
    *,
    replicas: int | None,
    batch_size: int | None,
    tensor_parallel: int = 1,
) -> Placement:
    """One Replica for every `tensor_parallel` GPUs of a node; without GPUs one a node, with all its cores.

    `now` and `later` are the resources of the cluster as it is and as it may grow, `nodes` those of each
    node; the rest is what the user asked for, if at all. Raises ValueError if the GPUs are too few for it.
    """
    gpus = int(max(now.get("GPU", 0), later.get("GPU", 0)))
    if not gpus:
        replicas = replicas or max(1, len(nodes))
        cores = int(max(now.get("CPU", 0), later.get("CPU", 0)))
        return Placement(
            replicas=replicas,
            ready=replicas,
            tensor_parallel=tensor_parallel,
            gpus=0,
            threads=max(1, cores // (replicas * tensor_parallel)),
            batch_size=batch_size or BATCH,
            calls=1,
        )
    rooms = sum(int(node.get("GPU", 0)) // tensor_parallel for node in nodes)
    if later.get("GPU", 0) > now.get("GPU", 0):
        rooms = gpus // tensor_parallel  # nobody knows how many GPUs the machines to come have each
    if rooms < (replicas or 1):
        raise ValueError(_too_few(gpus, rooms, replicas, tensor_parallel))
    replicas = replicas or rooms
    batch_size = batch_size or BATCH
    return Placement(
        replicas=replicas,
        ready=min(max(int(now.get("GPU", 0)) // tensor_parallel, 1), replicas),
        tensor_parallel=tensor_parallel,
        gpus=1,
        threads=1,
        batch_size=batch_size,
        calls=-(-GPU_GROUPS // batch_size),
    )


def find_placement(config: FlowConfig) -> Placement:
    """The Replicas for the cluster that Ray is connected to, as it is and as its autoscaler may grow it.

    Raises ValueError if the cluster cannot hold those that were asked for.
    """
    placement = placement_here(
        replicas=config.replicas, batch_size=config.batch_size, tensor_parallel=config.tensor_parallel
    )
    check_fp8_gpus(placement.gpus, config.dtype, config.cache_dtype)
    return placement


def placement_here(*, replicas: int | None, batch_size: int | None, tensor_parallel: int) -> Placement:
    """`plan_placement` for the cluster that Ray is connected to."""
    alive: list[dict[str, Any]] = ray.nodes()
    return plan_placement(
        now=ray.cluster_resources(),
        later=largest_cluster(),
        nodes=[node["Resources"] for node in alive if node["Alive"] and node["Resources"].get("CPU")],
        replicas=replicas,
        batch_size=batch_size,
        tensor_parallel=tensor_parallel,
    )


def _too_few(gpus: int, rooms: int, replicas: int | None, tensor_parallel: int) -> str:
    if tensor_parallel == 1:
        return f"--replicas {replicas}: the cluster has {gpus} GPUs, and a Replica needs one"
    asked = f"--tensor-parallel {tensor_parallel}" + (f" --replicas {replicas}" if replicas else "")
    return (
        f"{asked}: the cluster has {gpus} GPUs, with room for {rooms} Replicas of {tensor_parallel} GPUs of "
        "one machine"
    )
