"""A private Ray is started and ended with the job, and keeps no more than the job needs."""

import subprocess
import sys

ASK = """
import time, ray
from jobs.run.ray_session import connected

with connected(num_cpus=1):
    ray.get([ray.remote(lambda: 1).remote() for _ in range(3)])
    time.sleep(3)  # tasks are reported every second
    print(len(ray.timeline()))
"""


def test_a_private_ray_keeps_no_account_of_its_tasks() -> None:
    """Its head kept some kilobytes of each task, of up to 100,000."""
    said = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, timeout=240, check=True
    )
    assert said.stdout.split() == ["0"]
