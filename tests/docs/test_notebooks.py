"""The notebooks run from their first cell to their last, and hold no outputs."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.run import model_flags
from tests.docs.markdown import ROOT
from tests.docs.shell import make_root
from tests.jobs.parrot import save_parrot

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
PAGE = "# A page"


def cells(notebook: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(notebook.read_text())["cells"]
    return found


def code(notebook: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "code"]


def test_there_are_three() -> None:
    assert [notebook.stem for notebook in NOTEBOOKS] == ["chat", "extract", "transcribe"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: str(notebook.stem))
def test_no_outputs_are_kept(notebook: Path) -> None:
    for cell in cells(notebook):
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: str(notebook.stem))
def test_the_first_cell_leads_to_the_root(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (ROOT / "docs" / "notebooks", ROOT):
        monkeypatch.chdir(folder)
        exec(code(notebook)[0], {})
        assert Path.cwd() == ROOT


def run(name: str, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs a notebook in a folder like the root; returns its variables."""
    patch.chdir(make_root(folder))
    (notebook,) = (notebook for notebook in NOTEBOOKS if notebook.stem == name)
    space: dict[str, Any] = {"__name__": "__main__"}  # as in a kernel: its classes are nobody's to import
    for number, source in enumerate(code(notebook), 1):
        exec(compile(source, f"{name}.ipynb, cell {number}", "exec"), space)
    return space


@pytest.mark.soak
@pytest.mark.processes
def test_extract(
    tmp_path: Path,
    one_cpu_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    space = run("extract", tmp_path, monkeypatch)
    assert space["answers"].answers.num_rows == 2
    (row,) = space["result"].merged.to_pylist()
    assert row["answer"]["items"]
    assert "receipt.png" in capsys.readouterr().out


@pytest.mark.processes
def test_transcribe(
    tmp_path: Path,
    one_cpu_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a model that writes the same page whatever it sees."""
    monkeypatch.setattr(model_flags, "NANO", save_parrot(tmp_path / "parrot", PAGE))
    (tmp_path / "root").mkdir()
    run("transcribe", tmp_path / "root", monkeypatch)
    said = capsys.readouterr().out
    assert "1 documents: out/notebook/markdown/" in said
    assert said.rstrip().endswith(PAGE)


def test_chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    space = run("chat", tmp_path, monkeypatch)
    said = capsys.readouterr().out
    assert "Bakery" in said
    assert 0 < space["reply"].cached_tokens < space["reply"].prompt_tokens
