"""The key follows a checkpoint's content, not its place, and is computed once."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.checkpoint import save_model
from model.model_key import model_key
from tests.model.tiny import tiny_pixtral


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tiny_pixtral(), tmp_path / "tiny")
    return tmp_path / "tiny"


def key_of(folder: Path, **changes: Tensor) -> str:
    (folder / ".model_key.json").unlink(missing_ok=True)
    if changes:
        file = folder / "consolidated.safetensors"
        save_file(load_file(file) | changes, file)
    return model_key(folder)


def test_the_model_key_follows_the_tensors(saved: Path, tmp_path: Path) -> None:
    first = model_key(saved)
    save_model(tiny_pixtral(), tmp_path / "copy")
    assert model_key(tmp_path / "copy") == first
    assert len(first) == 64
    one = torch.ones(48)
    one[7] += 1e-6
    assert key_of(saved, **{"norm.weight": one}) != first


def test_the_model_key_follows_the_tokenizer(saved: Path) -> None:
    first = model_key(saved)
    (saved / "tekken.json").write_text("{}")
    assert model_key(saved) != first


def test_the_model_key_is_computed_once(saved: Path) -> None:
    first = model_key(saved)
    kept = json.loads((saved / ".model_key.json").read_text())
    (saved / ".model_key.json").write_text(json.dumps(kept | {"key": "remembered"}))
    assert model_key(saved) == "remembered"
    (saved / ".model_key.json").write_text("not json")
    assert model_key(saved) == first
    assert sorted(path.name for path in saved.iterdir()) == [
        ".model_key.json",
        "consolidated.safetensors",
        "params.json",
    ]


def test_the_model_key_needs_no_writable_folder(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = key_of(saved)
    (saved / ".model_key.json").unlink()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    assert model_key(saved) == first
    assert not (saved / ".model_key.json").exists()
