"""The image, without a daemon that builds it: its file is linted, its steps and its tree are run."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.dockerfile import DOCKERFILE, ROOT, arguments, instructions, named, words_of
from tests.environment import without_ray

BIN = Path(sys.executable).parent
NOTE = """\
#!{bash}
printf '%s\\0' "$(($# + 2))" "${{0##*/}}" "$@" "${{PIP_EXTRA_INDEX_URL-}}" >> "$NOTED"
"""
PROGRAMS = ("apt-get", "pip", "rm", "useradd", "chmod", "python")
JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py") if path.stem != "__init__")


def test_the_file_is_clean() -> None:
    done = subprocess.run([BIN / "hadolint", "--format", "json", DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def run_steps(folder: Path, **given: str) -> tuple[int, str, list[list[str]]]:
    """Runs the RUN steps with stand-ins for all programs; exit code, stderr, and the commands in order.

    The last word of each command is PIP_EXTRA_INDEX_URL.
    """
    bash = shutil.which("bash")
    assert bash is not None
    shell, *flags = words_of("SHELL")
    assert shell == "/bin/bash"
    for name in PROGRAMS:
        (folder / name).write_text(NOTE.format(bash=bash))
        (folder / name).chmod(0o755)
    noted = folder / "noted"
    noted.write_text("")
    environment = arguments() | given | {"PATH": str(folder), "NOTED": str(noted)}
    for step in named("RUN"):
        done = subprocess.run(
            [bash, *flags, step], env=environment, cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            return done.returncode, done.stderr, []
    words, commands = noted.read_text().split("\0"), []
    while len(words) > 1:
        count = int(words[0])
        commands.append(words[1 : count + 1])
        words = words[count + 1 :]
    return 0, "", commands


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_its_steps_install_what_a_device_needs(tmp_path: Path, device: str) -> None:
    code, said, commands = run_steps(tmp_path, DEVICE=device)
    assert (code, said) == (0, "")
    by_name = {f"{name} {words[0]}": words for name, *words in commands}
    packages = by_name["apt-get install"]
    assert "tini" in packages
    assert ("gcc" in packages) == (device == "gpu")
    *installed, index = by_name["pip install"]
    assert installed[-1] == "/quire[serve,iceberg]"
    assert index == (arguments()["TORCH_FOR_CPU"] if device == "cpu" else "")


def test_libreoffice_is_installed_where_it_is_asked_for(tmp_path: Path) -> None:
    package = "libreoffice-writer-nogui"
    for given, is_there in (({}, False), ({"OFFICE": "no"}, False), ({"OFFICE": "yes"}, True)):
        _, _, commands = run_steps(tmp_path, **given)
        (packages,) = (words for name, *words in commands if (name, words[0]) == ("apt-get", "install"))
        assert (package in packages) == is_there


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"DEVICE": "tpu"}, "DEVICE is tpu: it must be cpu or gpu\n"),
        ({"OFFICE": "word"}, "OFFICE is word: it must be no or yes\n"),
    ],
)
def test_another_value_is_a_sentence(tmp_path: Path, given: dict[str, str], said: str) -> None:
    assert run_steps(tmp_path, **given) == (2, said, [])


def test_it_runs_as_a_user_who_is_not_root() -> None:
    order = [name for name, _ in instructions()]
    assert named("USER") == ["1000:1000"]
    assert order.index("USER") > max(place for place, name in enumerate(order) if name in ("RUN", "COPY"))


def test_torch_s_version_stands_in_the_project_alone() -> None:
    pinned = next(
        line for line in (ROOT / "pyproject.toml").read_text().splitlines() if "torch==" in line
    ).split('"')[1]
    version = pinned.removeprefix("torch==")
    assert version not in "".join(path.read_text() for path in (ROOT / "deploy").rglob("*") if path.is_file())


def copies() -> Iterator[tuple[str, str]]:
    """Each source in the repository, and its place in the image."""
    for words in named("COPY"):
        *sources, place = words.split()
        for source in sources:
            is_folder = place.endswith("/") or place == "."
            yield source, f"{place.rstrip('/')}/{Path(source).name}" if is_folder else place


def test_docker_is_sent_what_is_copied_and_no_more() -> None:
    lines = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == {source for source, _ in copies()}
    assert "**/__pycache__" in rules


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The image's /quire, from the files of the repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [Path(name) for name in listed.stdout.split("\0") if name]
    with tempfile.TemporaryDirectory(prefix="quire-image-") as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "quire"
        for source, place in copies():
            found = [file for file in files if file == Path(source) or file.is_relative_to(source)]
            assert found, f"COPY {source}: there is no such file"
            for file in found:
                to = root / place / file.relative_to(source) if file != Path(source) else root / place
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, to)
        yield root


def run(image: Path, *words: str, user: int | None = None, **more: str) -> "subprocess.CompletedProcess[str]":
    """`docker run IMAGE WORDS`, without tini."""
    assert words_of("ENTRYPOINT")[:2] == ["tini", "--"]
    entry = words_of("ENTRYPOINT")[-1].removeprefix("/quire/")
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(image / entry), *(words or words_of("CMD"))],
        env=without_ray() | {"PATH": path} | more,
        cwd="/",
        user=user,
        capture_output=True,
        text=True,
    )


def test_it_says_its_jobs(image: Path) -> None:
    done = run(image)
    assert done.returncode == 0
    assert [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")] == JOBS
    assert {"extract", "chat", "serve"} <= set(JOBS)


@pytest.mark.parametrize(
    "job", ["nothing", "../jobs/extract", "extract.py", "nano/training", "__init__", "a b"]
)
def test_what_is_no_job_is_a_sentence(image: Path, job: str) -> None:
    done = run(image, job, "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: there is no job {job}\nusage: docker run")


@pytest.mark.processes
@pytest.mark.parametrize("job", JOBS)
def test_each_job_starts(image: Path, job: str) -> None:
    done = run(image, job, "--help")
    assert done.returncode == 0, done.stderr
    assert f"jobs.{job}" in done.stdout


@pytest.mark.processes
def test_flags_go_to_the_job_as_they_are(image: Path) -> None:
    done = run(image, "extract", "--input", "/a b/$HOME *", "--output", "/nowhere", "--question", "a  b?")
    assert done.returncode == 2
    assert "/a b/$HOME *" in done.stderr


def can_run_python(user: int | None) -> bool:
    """Whether that user may start the Python of these tests, and read what it imports."""
    try:
        command = [sys.executable, "-c", "import ray, torch"]
        return subprocess.run(command, user=user, cwd="/", capture_output=True).returncode == 0
    except PermissionError:
        return False


@pytest.mark.soak
@pytest.mark.processes
def test_a_job_runs_in_it_as_its_user(image: Path) -> None:
    """With the embedded model, and nothing of the repository but what the image has."""
    user: int | None = int(named("USER")[0].partition(":")[0])
    if os.getuid() or not can_run_python(user):
        user = None  # then as whoever runs the tests
    with tempfile.TemporaryDirectory(prefix="quire-") as folder:
        os.chmod(folder, 0o777)
        done = run(
            image,
            *("extract", "--input", "samples/documents/receipt.png", "--output", f"{folder}/out"),
            *("--question", "What is the total?"),
            user=user,
            HOME=folder,
            RAY_TMPDIR=folder,
        )
        assert done.returncode == 0, done.stderr
        assert "1 items: 1 answered" in done.stdout
        if user is not None:
            assert os.stat(f"{folder}/out/run.json").st_uid == user
