"""A private Ray is started and ended with the job and keeps little; a cluster gets the code alone."""

import os
import time
import zipfile
from pathlib import Path

import pytest
import ray
from ray._private.runtime_env.packaging import create_package

from jobs.run.ray_session import EXCLUDES, ROOT, _importable

pytestmark = pytest.mark.processes


def test_a_private_ray_keeps_no_account_of_its_tasks(one_cpu_ray: None) -> None:
    """Its head kept some kilobytes of each task, of up to 100,000."""
    task = ray.remote(lambda: 1)
    ray.get([task.remote() for _ in range(3)])
    time.sleep(3)  # tasks are reported every second
    assert ray.timeline() == []


@pytest.mark.parametrize("before", [None, "/mine"])
def test_ray_s_processes_find_the_code_wherever_the_program_is(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONPATH", before)
    with _importable():
        assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(ROOT), *filter(None, [before])]
    assert os.environ.get("PYTHONPATH") == before


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
