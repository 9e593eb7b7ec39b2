"""A cluster of two nodes on this machine, of which one dies under a job."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from ray.cluster_utils import Cluster

DRIVER_NODE = "driver"


@dataclass
class Nodes:
    """A head, and a node that may be lost."""

    environment: dict[str, str]  # of a job there
    cluster: Cluster
    folder: str
    _workers: list[Any]

    def is_worker(self, process: psutil.Process) -> bool:
        """Finds the raylet of the second node."""
        return bool(process.pid == _raylet(self._workers[-1]))

    def is_head(self, process: psutil.Process) -> bool:
        """Finds the raylet of the head."""
        return bool(process.pid == _raylet(self.cluster.head_node))

    def replace_worker(self) -> None:
        """Another machine for the one that died."""
        # A thread cannot handle signals, as a node wants to that ends with this process: `two_nodes` ends it.
        self.cluster._shutdown_at_exit = False
        # Its own workers take it for alive until somebody has asked what it has come to.
        self._workers[-1].all_processes["raylet"][0].process.wait()
        self._workers.append(_add_node(self.cluster, self.folder))

    def kill_head(self) -> None:
        """What else runs on it, its store too."""
        head: Any = self.cluster.head_node
        head.kill_all_processes(check_alive=False, allow_graceful=False)


@contextmanager
def two_nodes(away: bool) -> Iterator[Nodes]:
    """The driver is on the head; or it is `away`, on the other node."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    with tempfile.TemporaryDirectory(prefix="quire-", ignore_cleanup_errors=True) as folder:
        try:
            worker = _add_node(cluster, folder, DRIVER_NODE)
            environment = {"RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "disabled"}
            if away:
                environment["QUIRE_NODE"] = DRIVER_NODE
            yield Nodes(environment, cluster, folder, [worker])
        finally:
            cluster.shutdown()


def _add_node(cluster: Cluster, folder: str, name: str | None = None) -> Any:
    """With a folder of its own, as on its own machine: where a node started, what the job had shipped to the
    other has vanished under its workers."""
    return cluster.add_node(num_cpus=1, temp_dir=tempfile.mkdtemp(dir=folder), node_name=name)


def _raylet(node: Any) -> int | None:
    found = node.all_processes.get("raylet")
    return found[0].process.pid if found else None
