import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.checkpoint import default_dtype, load_model, save_model
from model.checkpoint_files import CheckpointError, check_checkpoint, load_config
from model.model_key import model_key
from tests.model.tiny import CONFIG, tiny_pixtral


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tiny_pixtral(), tmp_path / "tiny")
    return tmp_path / "tiny"


def change(folder: Path, **changes: Tensor | None) -> None:
    """Replace tensors of consolidated.safetensors; None removes one."""
    tensors = load_file(folder / "consolidated.safetensors")
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, folder / "consolidated.safetensors")


def load(folder: Path, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    state: dict[str, Tensor] = load_model(folder, device="cpu", dtype=dtype).state_dict()
    return state


def test_what_was_saved_is_loaded(saved: Path) -> None:
    assert load_config(saved) == CONFIG
    expected = tiny_pixtral().state_dict()
    state = load(saved)
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_tensors_come_in_the_dtype_asked_for(saved: Path, dtype: torch.dtype) -> None:
    assert {tensor.dtype for tensor in load(saved, dtype).values()} == {dtype}


def test_a_loaded_model_is_ready_to_answer(saved: Path) -> None:
    model = load_model(saved, device="cpu", dtype=torch.float32)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_model_can_be_saved_over_the_file_it_is_mapped_from(saved: Path) -> None:
    model = load_model(saved, device="cpu", dtype=torch.float32)
    save_model(model, saved)
    expected = tiny_pixtral().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load(saved).items())
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_everything_that_does_not_fit_is_listed_at_once(saved: Path) -> None:
    change(
        saved,
        **{
            "norm.weight": None,
            "layers.0.attention.wq.weight": None,
            "layers.9.attention.wq.weight": torch.zeros(2),
            "lora.weight": torch.zeros(2),
            "output.weight": torch.zeros(63, 48),
            "layers.1.feed_forward.w2.weight": torch.zeros(48, 56, dtype=torch.int8),
        },
    )
    with pytest.raises(CheckpointError) as error:
        load(saved)
    assert str(error.value).splitlines() == [
        f"{saved} does not fit its configuration, 6 problems:",
        "  missing: layers.0.attention.wq.weight",
        "  missing: norm.weight",
        "  unknown: layers.9.attention.wq.weight",
        "  unknown: lora.weight",
        "  type of layers.1.feed_forward.w2.weight: I8, expected F64, F32, F16 or BF16",
        "  shape of output.weight: [63, 48], expected [64, 48]",
    ]


def shard(folder: Path, count: int, index: bool) -> None:
    tensors = load_file(folder / "consolidated.safetensors")
    (folder / "consolidated.safetensors").unlink()
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for number in range(count):
        file = f"consolidated-{number + 1:05d}-of-{count:05d}.safetensors"
        save_file({name: tensors[name] for name in names[number::count]}, folder / file)
        weight_map |= dict.fromkeys(names[number::count], file)
    if index:
        text = json.dumps({"metadata": {}, "weight_map": weight_map})
        (folder / "consolidated.safetensors.index.json").write_text(text)


@pytest.mark.parametrize("index", [True, False])
def test_shards_load_as_one_file_does(saved: Path, index: bool) -> None:
    expected = load(saved)
    shard(saved, 3, index)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load(saved).items())


def test_an_absent_shard_is_named(saved: Path) -> None:
    shard(saved, 3, index=True)
    (saved / "consolidated-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"consolidated-00002-of-00003\.safetensors.*download"):
        load(saved)


def test_an_index_cannot_name_files_elsewhere(saved: Path) -> None:
    shard(saved, 2, index=True)
    text = json.dumps({"weight_map": {"norm.weight": "../tiny/consolidated-00001-of-00002.safetensors"}})
    (saved / "consolidated.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="names files that are not in"):
        load(saved)


def test_a_tensor_in_two_files_is_refused(saved: Path) -> None:
    save_file({"norm.weight": torch.zeros(48)}, saved / "consolidated-2.safetensors")
    with pytest.raises(CheckpointError, match=r"norm\.weight is in two files"):
        load(saved)


def test_a_truncated_file_is_one_sentence(saved: Path) -> None:
    path = saved / "consolidated.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cannot read .*consolidated\.safetensors.*download it again"):
        load(saved)


def test_a_folder_without_a_checkpoint_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    for check in (load_config, model_key):
        with pytest.raises(CheckpointError, match=r"holds no checkpoint: expected params\.json"):
            check(tmp_path)


@pytest.mark.parametrize(
    ("abilities", "dtype"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_bfloat16_is_the_default_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch, abilities: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert default_dtype("cpu") == dtype


def test_a_checkpoint_is_checked_without_loading_it(saved: Path) -> None:
    assert check_checkpoint(saved) == CONFIG
    change(saved, **{"norm.weight": torch.ones(7), "output.weight": None})
    with pytest.raises(
        CheckpointError, match=r"(?s)2 problems.*missing: output.weight.*shape of norm.weight"
    ):
        check_checkpoint(saved)
