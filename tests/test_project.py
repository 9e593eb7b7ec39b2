"""The repository's own promises: cheap imports, small files, ignores that say why."""

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "model", "pipeline", "jobs", "samples")
TOP = {*PACKAGES, "tests", "docs", ".ci", ".gitignore", "Makefile", "pyproject.toml", "ray_cluster.yaml"}
TOP |= {"README.md", "CONTRIBUTING.md", "LICENSE", "deploy"}
MOST_LINES = 400  # of a file that is no test


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in listing.decode().split("\0") if name and (path := ROOT / name).is_file()]


def module_names() -> list[str]:
    """Every module of ours by its dotted name, in a stable order."""
    files = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted({".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files})


def run_python(program: str) -> str:
    """The output of a fresh interpreter at the root, since this one has imported nearly everything."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "module",
    [
        "model.text.tokenizer",
        "model.network.image_grid",
        "model.text.grammar",
        "model.engine.scheduler",
        "model.engine.request",
        "pipeline.flow",
        "jobs.extract",
        "pipeline.config",
        "jobs.train",
        "jobs.benchmark",
        "jobs.chat",
    ],
)
def test_imports_without_torch(module: str) -> None:
    assert run_python(f"import sys, {module}; print('torch' in sys.modules)") == "False\n"


def test_a_rank_starts_without_grammars() -> None:
    """Only rank 0 has an engine, which brings llguidance."""
    program = "import sys, pipeline.infer.tp_worker; print('llguidance' in sys.modules)"
    assert run_python(program) == "False\n"


def test_a_process_that_answers_does_not_load_the_compiler() -> None:
    """torch's, which takes longer than all else until nano is there."""
    program = """
import sys, torch, model.engine.engine
from pathlib import Path
from model.checkpoint import load_model

load_model(Path("model/nano"), device="cpu", dtype=torch.float32)
print("torch._dynamo" in sys.modules)
"""
    assert run_python(program) == "False\n"


def test_nothing_happens_at_import() -> None:
    imports = "\n".join(f"import {name}" for name in module_names())
    state = """
import logging, threading, ray, torch
print([thread.name for thread in threading.enumerate()], logging.root.handlers)
print(ray.is_initialized(), torch.cuda.is_initialized(), torch.distributed.is_initialized())
"""
    assert run_python(imports + state) == "['MainThread'] []\nFalse False False\n"


def test_one_file_knows_the_private_parts_of_ray() -> None:
    private = re.compile(r"ray\.(\w+\.)*_(private|internal)\b|\binternal_kv\b|\bray\.core\.generated\b")
    users = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if private.search(path.read_text())
    ]
    assert users == ["pipeline/ray_internals.py"]


@pytest.mark.program("git")
def test_the_top_level_is_fixed() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    assert found == TOP


@pytest.mark.program("git")
def test_a_file_holds_one_concept() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in tracked_files()
        if path.suffix == ".py" and (ROOT / "tests") not in path.parents
    }
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.program("git")
def test_only_the_checkpoint_is_large() -> None:
    large = [path for path in tracked_files() if path.stat().st_size > 3_000_000]
    assert [path for path in large if (ROOT / "model" / "nano") not in path.parents] == []
    assert sum(path.stat().st_size for path in large) <= 40_000_000


@pytest.mark.program("git")
def test_every_ignore_names_its_rule_and_its_reason() -> None:
    complete = re.compile(r"# (type: ignore\[[a-z, -]+\]|noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*) +(#|-|--|:)? ?\w.*")
    bare = []
    for path in tracked_files():
        if path.suffix != ".py":
            continue
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            ignores = token.type == tokenize.COMMENT and re.match(r"# *(type: *ignore|noqa)", token.string)
            if ignores and not complete.match(token.string):
                bare.append(f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}")
    assert bare == []
