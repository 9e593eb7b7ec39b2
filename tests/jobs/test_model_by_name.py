"""`--model owner/name`: the jobs fetch the model, and their rows are those of the same files in a folder."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from jobs.retry import _config, make_parser
from tests.environment import without_ray
from tests.hub import COMMIT, Hub, Repository, served
from tests.pipeline.drawn import pdf_bytes

ROOT = Path(__file__).parents[2]
NAME = "someone/Tiny"

pytestmark = pytest.mark.processes


@pytest.fixture
def hub(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "commit"
    shutil.copytree(tiny_checkpoint, folder, ignore=shutil.ignore_patterns(".model_key*"))
    with served({f"models/{NAME}": Repository({COMMIT: folder})}) as running:
        yield running


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.pdf").write_bytes(pdf_bytes([(100 + number, 100)]))
    return folder


def run(
    hub: Hub, home: Path, job: str, *flags: object, more: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    changed = {name: value for name, value in hub.environment(home).items() if name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-m", f"jobs.{job}", *map(str, flags)],
        cwd=ROOT,
        env=without_ray() | changed | dict(more or {}),
        capture_output=True,
        text=True,
    )


def extract(hub: Hub, home: Path, documents: Path, output: Path, model: object, **more: Any) -> str:
    flags = ("--input", documents, "--output", output, "--model", model, "--question", "What?")
    done = run(hub, home, "extract", *flags, "--max-new-tokens", 4, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def record_of(output: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((output / "run.json").read_text())
    return record


def test_rows_by_name_are_those_of_the_folder(
    hub: Hub, documents: Path, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    home, output = tmp_path / "home", tmp_path / "out"
    said = extract(hub, home, documents, output, NAME)
    assert f"fetching {NAME}@{COMMIT}: 1 files, 0.00 GiB" in said
    assert sorted(hub.fetched()) == ["consolidated.safetensors", "params.json", "tekken.json"]
    record = record_of(output)
    assert record["config"]["model"] == f"{NAME}@{COMMIT}"
    assert "2 documents with 2 items were done before" in extract(
        hub, home, documents, output, tiny_checkpoint
    )
    assert record_of(output)["plan"]["settings_key"] == record["plan"]["settings_key"]
    assert DeltaTable(output / "answers" / "text").to_pyarrow_table().num_rows == 2
    retry = _config(make_parser().parse_args([str(output)]), record)
    assert retry.model == f"{NAME}@{COMMIT}"


@pytest.mark.soak
def test_a_retry_takes_the_commit_of_the_run(hub: Hub, documents: Path, tmp_path: Path) -> None:
    (documents / "2.pdf").write_bytes(b"%PDF-1.7 no more")
    home, output = tmp_path / "home", tmp_path / "out"
    extract(hub, home, documents, output, NAME)
    repository = hub.repositories[f"models/{NAME}"]
    moved = tmp_path / "moved"
    shutil.copytree(repository.commits[COMMIT], moved)
    (moved / "params.json").write_text((moved / "params.json").read_text() + "\n")
    repository.commits["b" * 40], repository.branches["main"] = moved, "b" * 40
    done = run(hub, home, "retry", output)
    assert done.returncode == 0, done.stderr
    assert record_of(output)["config"]["model"] == f"{NAME}@{COMMIT}"


def test_a_mistake_in_the_inputs_is_told_before_the_weights_are_fetched(hub: Hub, tmp_path: Path) -> None:
    flags = ("--input", tmp_path / "nowhere", "--output", tmp_path / "out", "--model", NAME)
    done = run(hub, tmp_path / "home", "extract", *flags, "--question", "What?")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path}/nowhere" in done.stderr
    assert "consolidated.safetensors" not in hub.fetched()


def test_a_model_that_cannot_be_had_is_a_sentence(hub: Hub, documents: Path, tmp_path: Path) -> None:
    flags = ("--input", documents, "--output", tmp_path / "out", "--question", "What?", "--model")
    done = run(hub, tmp_path / "home", "extract", *flags, "someone/nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: model someone/nothing: there is no such folder here, and no model")
    assert done.stderr.count("\n") == 1
    hub.repositories[f"models/{NAME}"].cut = True
    done = run(hub, tmp_path / "home", "extract", *flags, NAME)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith(f"broken off: model {NAME}: it cannot be downloaded (")
    assert last.endswith("; the same command continues")


@pytest.mark.soak
def test_an_evaluation_and_a_benchmark_take_names(hub: Hub, tmp_path: Path, documents: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        json.dumps({"document": str(documents / "0.pdf"), "question": "What?", "answers": ["x"]}) + "\n"
    )
    output = tmp_path / "evaluated"
    flags = (questions, "--model", NAME, "--output", output, "--max-new-tokens", 4)
    done = run(hub, tmp_path / "home", "evaluate", *flags)
    assert done.returncode == 0, done.stderr
    assert json.loads((output / "summary.json").read_text())["model"] == f"{NAME}@{COMMIT}"
    reading = ("reading", "--model", NAME, "--pages", 1, "--max-side", 128)
    done = run(hub, tmp_path / "home", "benchmark", *reading)
    assert done.returncode == 0, done.stderr


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
print("at", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextmanager
def cluster(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A cluster whose machines have this environment; yields what a job needs to join it.

    In a process of its own: this one may be connected to another Ray, with another token.
    """
    auth = {"RAY_AUTH_MODE": "disabled"}
    command, env = [sys.executable, "-c", CLUSTER], without_ray() | dict(environment) | auth
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = next(line.split()[1] for line in process.stdout if line.startswith("at "))
            yield auth | {"RAY_ADDRESS": address}
        finally:
            process.communicate()


@pytest.mark.soak
def test_each_machine_of_a_cluster_fetches_what_it_needs(hub: Hub, documents: Path, tmp_path: Path) -> None:
    """The driver's machine has a cache of its own, and none of the weights come there."""
    homes = {name: tmp_path / name for name in ("driver", "other")}
    with (
        tempfile.TemporaryDirectory(prefix="quire-") as folder,
        cluster(hub.environment(homes["other"])) as more,
    ):
        extract(hub, homes["driver"], documents, Path(folder) / "out", NAME, more=more)
        assert record_of(Path(folder) / "out")["config"]["model"] == f"{NAME}@{COMMIT}"
    weights = {name: len(list(home.rglob("consolidated.safetensors"))) for name, home in homes.items()}
    assert weights == {"driver": 0, "other": 1}
    small = ["params.json", "tekken.json"]
    assert sorted(hub.fetched()) == sorted([*small, *small, "consolidated.safetensors"])
