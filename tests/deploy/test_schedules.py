"""The examples of scheduled runs: their commands parse, and who runs them accepts their files."""

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.deploy.dockerfile import ROOT
from tests.deploy.kuberay.trim import manifests
from tests.docs.parsers import check

DEPLOY = ROOT / "deploy"
DAG = DEPLOY / "airflow" / "quire_nightly.py"
KUBERAY = [one for one in manifests() if one["apiVersion"] == "ray.io/v1"]
AIRFLOW = "3.3.2"
TEN = {"0 22 * * *"}  # in the evening


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("BUCKET", "s3://bucket")

    def parse(words: list[str]) -> None:
        assert words[1:3] == ["-m", words[2]]
        check([Path(words[0]).name, *words[1:]], monkeypatch, capsys)

    return parse


def test_cron_runs_jobs_that_parse_under_a_lock(parses: Any) -> None:
    lines = [line for line in (DEPLOY / "crontab").read_text().splitlines() if re.match(r"\d", line)]
    assert [line.split(" ", 5)[:5] for line in lines] == [["0", "22", *"***"], ["30", "5", *"***"]]
    assert "flock --nonblock" in lines[0]
    assert "flock /var/lock/quire.lock" in lines[1], "a run may still be finishing at half past five"
    assert not any("%" in line for line in lines), "cron ends the command at a percent sign"
    jobs = [
        shlex.split(part.split("2>>")[0].replace("$BUCKET", "s3://bucket"))
        for line in lines
        for part in line.split("&&")
        if "-m jobs." in part
    ]
    assert [words[words.index("-m") + 1] for words in jobs] == [
        "jobs.extract",
        "jobs.maintain",
        "jobs.publish",
    ]
    for words in jobs:
        parses(["python", *words[words.index("-m") :]])


def test_systemd_runs_a_job_that_parses_and_repeats_what_broke_off_alone(parses: Any) -> None:
    unit = (DEPLOY / "systemd" / "quire.service").read_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    parses(shlex.split(settings["ExecStart"]))
    assert settings["Restart"] == "on-failure"
    assert settings["RestartPreventExitStatus"] == "2 3"
    assert "OnCalendar=*-*-* 22:00:00" in (DEPLOY / "systemd" / "quire.timer").read_text()


@pytest.mark.program("systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """On a machine that has none of our places, so they stand for others."""
    unit = (DEPLOY / "systemd" / "quire.service").read_text()
    for ours, there in (
        ("/opt/quire/.venv/bin/python", sys.executable),
        ("/opt/quire", "/"),
        ("=quire\n", "=root\n"),
    ):
        assert ours in unit
        unit = unit.replace(ours, there)
    (tmp_path / "quire.service").write_text(unit)
    (tmp_path / "quire.timer").write_text((DEPLOY / "systemd" / "quire.timer").read_text())
    paths = [str(tmp_path / name) for name in ("quire.service", "quire.timer")]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def dag_command() -> list[str]:
    """The words that the DAG runs, without Airflow."""
    tree = ast.parse(DAG.read_text())
    names = {"ADDRESS": "http://127.0.0.1:8265"}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMMAND":
            found: list[str] = eval(ast.unparse(node.value), {}, names)
            return found
    raise AssertionError("it has no COMMAND")


def test_the_dag_submits_one_run_at_a_time(parses: Any) -> None:
    words = dag_command()
    assert words[:3] == ["ray", "job", "submit"]
    parses(words[words.index("--") + 1 :])
    text = DAG.read_text()
    compile(text, str(DAG), "exec")
    for setting in (
        "max_active_runs=1",
        "catchup=False",
        'schedule="0 22 * * *"',
        "outlets=[ANSWERS]",
        "retries=0",
    ):
        assert setting in text


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_airflow_runs_the_dag(tmp_path: Path) -> None:
    """In an environment of its own, with another `ray` that notes its arguments."""
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    pip = [
        str(programs / "pip"),
        "install",
        "--quiet",
        "--disable-pip-version-check",
        f"apache-airflow=={AIRFLOW}",
    ]
    subprocess.run(pip, check=True)
    (programs / "ray").write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@" > "$QUIRE_CHECKOUT/noted"\n')
    (programs / "ray").chmod(0o755)
    dags = tmp_path / "airflow" / "dags"
    dags.mkdir(parents=True)
    (dags / DAG.name).write_text(DAG.read_text())
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AIRFLOW_HOME": str(dags.parent),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "QUIRE_CHECKOUT": str(tmp_path),
    }
    for command in (["db", "migrate"], ["dags", "test", "quire_nightly", "2026-01-02"]):
        done = subprocess.run(
            [str(programs / "airflow"), *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "noted").read_text().splitlines() == [str(tmp_path), *dag_command()[1:]]


@pytest.mark.parametrize("manifest", KUBERAY, ids=lambda one: one["kind"])
def test_kuberay_s_schema_holds_a_manifest(manifest: dict[str, Any]) -> None:
    schema = json.loads((Path(__file__).parent / "kuberay" / f"{manifest['kind'].lower()}.json").read_text())
    jsonschema.validate(manifest, schema)
    with pytest.raises(jsonschema.ValidationError, match="shedule"):
        jsonschema.validate({**manifest, "spec": manifest["spec"] | {"shedule": ""}}, schema)


def spec_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The cluster of a manifest."""
    spec: dict[str, Any] = manifest["spec"]
    spec = spec.get("jobTemplate", spec)
    return dict(spec.get("rayClusterSpec", spec))


@pytest.mark.parametrize("manifest", KUBERAY, ids=lambda one: one["kind"])
def test_groups_of_workers_come_and_go_with_the_images_that_deploy_makes(manifest: dict[str, Any]) -> None:
    spec = spec_of(manifest)
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"ray[data,default]=={spec['rayVersion']}" in pins
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert list(groups) == ["rasterizer", "pixtral"]
    pods = {"head": spec["headGroupSpec"], **groups}
    for name, group in pods.items():
        (container,) = group["template"]["spec"]["containers"]
        gpus = container["resources"]["limits"].get("nvidia.com/gpu")
        assert (gpus == "1") is (name == "pixtral")
        assert container["image"] == f"REGISTRY/quire:{'gpu' if gpus else 'cpu'}"
        if name != "head":
            assert group["minReplicas"] == 0 < group["maxReplicas"]
    others = [json.dumps(spec_of(one)).replace("Always", "Never") for one in KUBERAY]
    assert len(set(others)) == 1, "the three describe the same cluster"


def test_the_nightly_runs_of_kubernetes_parse_and_do_not_overlap(parses: Any) -> None:
    (plain,) = [one for one in manifests() if one["kind"] == "CronJob"]
    (nightly,) = [one for one in KUBERAY if one["kind"] == "RayCronJob"]
    (once,) = [one for one in KUBERAY if one["kind"] == "RayJob"]
    assert {plain["spec"]["schedule"], nightly["spec"]["schedule"]} == TEN
    assert plain["spec"]["concurrencyPolicy"] == "Forbid"
    (container,) = plain["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][:3] == ["ray", "job", "submit"]
    (cluster,) = [one for one in KUBERAY if one["kind"] == "RayCluster"]
    assert f"http://{cluster['metadata']['name']}-head-svc:8265" in container["command"]
    parses(container["args"])
    for job in (once["spec"], nightly["spec"]["jobTemplate"]):
        assert shlex.split(job["entrypoint"]) == container["args"]
        assert job["shutdownAfterJobFinishes"] is True
        assert job["backoffLimit"] == 0
    assert "RayCronJob=true" in (DEPLOY / "kuberay" / "raycronjob.yaml").read_text()


@pytest.mark.parametrize("name", ["gcp", "azure"])
def test_clusters_of_other_clouds_are_like_that_of_aws(name: str) -> None:
    ours = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    theirs = yaml.safe_load((DEPLOY / f"ray_cluster_{name}.yaml").read_text())
    validate_config(prepare_config(theirs))
    for key in (
        "max_workers",
        "idle_timeout_minutes",
        "head_start_ray_commands",
        "worker_start_ray_commands",
    ):
        assert theirs[key] == ours[key]
    assert theirs["docker"]["image"] == ours["docker"]["image"]
    for kind, node in ours["available_node_types"].items():
        other = theirs["available_node_types"][kind]
        assert [other.get(key) for key in ("min_workers", "max_workers", "docker")] == [
            node.get(key) for key in ("min_workers", "max_workers", "docker")
        ]
        assert other["resources"].keys() == node["resources"].keys()
        assert not {"InstanceType"} & other["node_config"].keys()
