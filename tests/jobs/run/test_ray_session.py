"""A private Ray keeps no more than the job needs."""

import time

import pytest
import ray

pytestmark = pytest.mark.processes


def test_a_private_ray_keeps_no_account_of_its_tasks(one_cpu_ray: None) -> None:
    """Its head kept some kilobytes of each task, of up to 100,000."""
    task = ray.remote(lambda: 1)
    ray.get([task.remote() for _ in range(3)])
    time.sleep(3)  # tasks are reported every second
    assert ray.timeline() == []
