"""Ray's private parts that Quire uses. They stand in this file alone, and were read in Ray 2.60.

An upgrade of Ray begins here. Each part has its reason: nothing public of Ray does the same.

- The classes of Ray Data's scheduler: no option holds one stage back (`pipeline/backpressure.py`).
- A key in the store of Ray's head: tasks have no other message from their driver that costs nothing to await.
- How far a cluster may grow: Ray's public calls know only the nodes that run.
- The socket of the raylet, its agents, and the folder of its logs: no public call says where they are, or
  that the raylet has died.
- What prints messages of Ray's on the terminal: no option leaves out those of a run that was told to stop.
- The references that the actors of Ray Data are made from: it has no other way to make them.
- A question to the head alone: whether a port is that of a head.
- The interval of Ray Data's statistics: no option sets it.
- The raylet's account of its object store: no public call counts the bytes that were spilled.
"""

from pathlib import Path
from typing import Any

import grpc
import psutil
import ray
import ray._private.worker
from ray._private.grpc_utils import init_grpc_channel
from ray._private.ray_constants import PROCESS_TYPE_RAYLET
from ray._private.state import state
from ray.data._internal.block_batching.iter_batches import BatchIterator
from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    DownstreamCapacityBackpressurePolicy,
)
from ray.data._internal.execution.operators.actor_pool_map_operator import ActorPoolMapOperator
from ray.data._internal.execution.operators.map_operator import MapOperator
from ray.data._internal.execution.streaming_executor import StreamingExecutor
from ray.experimental import internal_kv

__all__ = [
    "ENABLED_BACKPRESSURE_POLICIES",
    "ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY",
    "ActorPoolMapOperator",
    "DownstreamCapacityBackpressurePolicy",
    "MapOperator",
    "agents",
    "be_quiet",
    "delete_key",
    "get_key",
    "head_error",
    "is_key_set",
    "keep_no_statistics",
    "largest_cluster",
    "pass_arguments_by_value",
    "raylet_socket",
    "raylet_stub",
    "session_folder",
    "set_key",
]

_NAMESPACE = b"quire"


def set_key(key: bytes, value: bytes = b"1") -> None:
    """Sets a key in the head's store, for all processes of the cluster."""
    internal_kv._internal_kv_put(key, value, namespace=_NAMESPACE)


def get_key(key: bytes) -> bytes | None:
    """Asks the head for a key's value; None if it is not set, and in a process without Ray."""
    if not internal_kv._internal_kv_initialized():
        return None
    value: bytes | None = internal_kv._internal_kv_get(key, namespace=_NAMESPACE)
    return value


def delete_key(key: bytes) -> None:
    """Takes a key out of the head's store; nothing happens where Ray has gone."""
    if internal_kv._internal_kv_initialized():
        internal_kv._internal_kv_del(key, namespace=_NAMESPACE)


def is_key_set(key: bytes) -> bool:
    """Asks the head; False in a process without Ray."""
    return internal_kv._internal_kv_initialized() and bool(
        internal_kv._internal_kv_exists(key, namespace=_NAMESPACE)
    )


def largest_cluster() -> dict[str, int]:
    """The resources that the cluster's autoscaler may add up to; empty without an autoscaler."""
    return state.get_max_resources_from_cluster_config() or {}


def raylet_socket() -> str:
    """Path of the socket on which this machine's raylet listens. Ray must be connected."""
    node = ray._private.worker.global_worker.node
    assert node is not None, "Ray is not connected"
    return str(node.raylet_socket_name)


def agents() -> list[psutil.Process]:
    """The processes that the raylet has started. This process must have started the raylet.

    They are its agents, with which it lives and dies, and perhaps workers.
    """
    node = ray._private.worker.global_worker.node
    assert node is not None, "Ray is not connected"
    (raylet,) = node.all_processes[PROCESS_TYPE_RAYLET]
    children: list[psutil.Process] = psutil.Process(raylet.process.pid).children()
    return children


def session_folder() -> Path:
    """Where Ray keeps its logs on this machine. Ray must be connected."""
    node = ray._private.worker.global_worker.node
    assert node is not None, "Ray is not connected"
    return Path(node.get_session_dir_path())


def be_quiet(*, quiet: bool) -> None:
    """Whether this process drops the messages that the cluster sends it about lost workers and tasks."""
    ray._private.worker.print_to_stdstream = _drop if quiet else _print


_print = ray._private.worker.print_to_stdstream


def _drop(*_: Any, **__: Any) -> None:
    pass


def pass_arguments_by_value() -> None:
    """Has Ray Data hand its actors what they are made from, not references to it.

    An actor whose process dies is made again from its references, and from nothing if they are lost. Ray
    prints an error about that for each actor (ray issue 53727).
    """
    operator: Any = ActorPoolMapOperator
    operator._map_transformer_ref = property(lambda self: self._map_transformer)
    operator._data_context_ref = property(lambda self: self.data_context)


def raylet_stub() -> tuple[Any, Any]:
    """A stub of the only node's raylet, and what to ask it: `stub.GetNodeStats(request)`."""
    from ray.core.generated import node_manager_pb2
    from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub

    messages: Any = node_manager_pb2  # made by protoc: mypy sees nothing in it
    (node,) = ray.nodes()
    channel = init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")
    return NodeManagerServiceStub(channel), messages.GetNodeStatsRequest(include_memory_info=False)


def head_error(address: str, seconds: float) -> str | None:
    """Why what answers at HOST:PORT is not the head of a Ray; None if it is one."""
    from ray.core.generated import gcs_service_pb2
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    messages: Any = gcs_service_pb2  # made by protoc: mypy sees nothing in it
    channel = init_grpc_channel(address)
    try:
        NodeInfoGcsServiceStub(channel).CheckAlive(messages.CheckAliveRequest(), timeout=seconds)
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return None  # it wants a token: Ray says so itself when it connects
        return f"{error.code().name.lower()}: {' '.join(error.details().split())}"
    finally:
        channel.close()
    return None


def keep_no_statistics() -> None:
    """Has Ray Data report to its statistics actor at the end of a run only.

    The actor keeps 0.2 MiB of every report, and a report comes every 5 seconds.
    """
    StreamingExecutor.UPDATE_METRICS_INTERVAL_S = BatchIterator.UPDATE_METRICS_INTERVAL_S = float("inf")
