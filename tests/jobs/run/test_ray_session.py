"""A private Ray is started and ended with the job and keeps little; a cluster gets the code alone."""

import subprocess
import sys
import zipfile
from pathlib import Path

from ray._private.runtime_env.packaging import create_package

from jobs.run.ray_session import EXCLUDES

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


def test_a_cluster_gets_the_code_and_nothing_beside_it(tmp_path: Path) -> None:
    """By the function of Ray's that packs a working directory; a docs folder further down is code's own."""
    root, package = tmp_path / "root", tmp_path / "code.zip"
    left = [
        f"{name}/file" for name in ("out", "tests", "docs", "deploy", ".git", ".venv", "jobs/__pycache__")
    ]
    kept = ["jobs/extract.py", "jobs/run/docs/file", "pipeline/flow.py", "model/nano/params.json"]
    for name in [*left, *kept]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    create_package(str(root), package, include_gitignore=False, include_parent_dir=False, excludes=EXCLUDES)
    with zipfile.ZipFile(package) as shipped:
        assert sorted(name for name in shipped.namelist() if not name.endswith("/")) == sorted(kept)
