"""Runs that need a Ray of their own, as a program that prints what came of one, as JSON.

python -m tests.pipeline.scenarios two_nodes CHECKPOINT FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util import placement_group_table

from tests.pipeline.faults import (
    Disturbance,
    placement,
    prepare_run,
    run_with,
    undisturbed,
    write_documents,
)


def two_nodes(checkpoint: Path, folder: Path) -> dict[str, object]:
    """A Replica on each of two nodes, of which one goes: what it was asked is answered on the other."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1, resources={"slot": 2}) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    prepared = prepare_run(checkpoint, write_documents(folder / "in", 12, 3), folder / "out")
    places: list[set[str]] = []

    class Loss(Disturbance):
        def disturb(self) -> None:
            self.wait_until(lambda: self.answered >= 4 and len(self.groups()) == 2)
            places.extend(set(group["bundles_to_node_id"].values()) for group in self.groups())
            cluster.remove_node(nodes.pop(), allow_graceful=False)

        def groups(self) -> list[Any]:
            return [group for group in placement_group_table().values() if group["state"] == "CREATED"]

    with pytest.MonkeyPatch.context() as patch:
        loss = Loss(folder / "gate")
        found = run_with(prepared, placement(replicas=2), loss, patch, bundle={"slot": 1.0})
    expected = undisturbed(prepared)
    ray.shutdown()
    cluster.shutdown()
    return {
        "nodes_left": len(nodes),
        "apart": len(places) == 2 and places[0] != places[1] and all(len(place) == 1 for place in places),
        "answered": len(found),
        "equal": found == expected,
    }


if __name__ == "__main__":
    Path(sys.argv[3]).mkdir(exist_ok=True)
    scenarios = {"two_nodes": two_nodes}
    name, checkpoint, folder = sys.argv[1:]
    print(json.dumps(scenarios[name](Path(checkpoint), Path(folder))))
