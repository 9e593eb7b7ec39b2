"""Removes the placement groups of tensor-parallel ranks, with their processes. No torch: the driver does it.

A group has the name of its Replica, by which the next life of that Replica, or the driver, finds it.
"""

import time

from ray.util import get_placement_group, placement_group_table, remove_placement_group


def remove_group(name: str) -> None:
    """Removes the placement group, if there is one, with the processes in it."""
    try:
        remove_placement_group(get_placement_group(name))
        while get_placement_group(name):
            time.sleep(0.01)
    except ValueError:
        return  # not, or no longer, there


def remove_groups(prefix: str, patience: float) -> None:
    """At a run's end, removes the groups that their supervisors have not removed after `patience` seconds.

    A supervisor that was killed cannot, and Ray would keep its group as long as the driver lives.
    """
    deadline = time.monotonic() + patience
    while names := [
        group["name"]
        for group in placement_group_table().values()
        if group["name"].startswith(prefix) and group["state"] != "REMOVED"
    ]:
        if time.monotonic() > deadline:
            for name in names:
                remove_group(name)
        time.sleep(0.1)
