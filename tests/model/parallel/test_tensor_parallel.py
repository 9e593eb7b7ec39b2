"""Several ranks compute what one does, from slices of the same checkpoint."""

import json
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoint import load_model, save_model
from model.checkpoint_files import CheckpointError, hugging_face_name
from model.collectives.world import World
from model.config import PixtralConfig
from model.network.pixtral import Pixtral
from model.parallel.tensor_parallel import load_shard
from tests.model.ranks import Ranks
from tests.model.tiny import CONFIG, VISION, image_ids, tiny_pixtral

pytestmark = pytest.mark.processes

IDS = [1, 3, *image_ids(2, 3), 20, 63, 4, 1, 3, 33, *image_ids(1, 2), 4]
LENGTHS = [13, 7]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same model in Mistral's layout, and in Hugging Face's, in three files."""
    folder = tmp_path_factory.mktemp("checkpoints")
    model = tiny_pixtral(n_kv_heads=4)
    save_model(model, folder / "mistral")
    save_hugging_face(model, folder / "hugging face", shards=3)
    return {"mistral": folder / "mistral", "hugging face": folder / "hugging face"}


def save_hugging_face(model: Pixtral, folder: Path, shards: int) -> None:
    folder.mkdir()
    config, vision = model.config, model.config.vision
    (folder / "config.json").write_text(json.dumps(hugging_face_config(config)))
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name.endswith((".wq.weight", ".wk.weight")):
            width = vision.head_dim if name.startswith("vision") else config.head_dim
            pairs = tensor.view(-1, width // 2, 2, tensor.shape[1])
            tensor = pairs.transpose(1, 2).reshape(tensor.shape)
        tensors[hugging_face_name(name)] = tensor.contiguous()
    names = sorted(tensors)
    for number in range(shards):
        file = folder / f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        save_file({name: tensors[name] for name in names[number::shards]}, file)


def hugging_face_config(config: PixtralConfig) -> dict[str, Any]:
    vision = asdict(config.vision)
    return {
        "model_type": "llava",
        "image_token_index": config.vision.image_token_id,
        "text_config": {
            "model_type": "mistral",
            "hidden_size": config.dim,
            "num_hidden_layers": config.n_layers,
            "head_dim": config.head_dim,
            "intermediate_size": config.hidden_dim,
            "num_attention_heads": config.n_heads,
            "num_key_value_heads": config.n_kv_heads,
            "rms_norm_eps": config.norm_eps,
            "rope_theta": config.rope_theta,
            "vocab_size": config.vocab_size,
        },
        "vision_config": {"model_type": "pixtral", "hidden_act": "silu", **vision},
    }


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [
        torch.randn(3, 16 * rows, 16 * columns, generator=generator) for rows, columns in ((2, 3), (1, 2))
    ]


@torch.inference_mode()
def logits(model: Pixtral, dtype: torch.dtype) -> Tensor:
    features = model.encode_images([image.to(dtype) for image in images()])
    out: Tensor = model(model.embed(torch.tensor(IDS), features), LENGTHS)
    return out


def shard_logits(world: World, folder: Path, dtype: torch.dtype) -> Tensor:
    return logits(load_shard(folder, world, dtype), dtype)


@pytest.mark.parametrize("layout", ["mistral", "hugging face"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_logits_are_those_of_the_whole_model(
    ranks: Ranks, saved: dict[str, Path], layout: str, dtype: torch.dtype, tolerance: float
) -> None:
    expected = logits(load_model(saved["mistral"], device="cpu", dtype=dtype), dtype)
    assert expected.abs().max() > 1
    for found in ranks(shard_logits, saved[layout], dtype):
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def shard_shapes(world: World, folder: Path) -> dict[str, tuple[int, ...]]:
    model = load_shard(folder, world, torch.bfloat16)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_each_rank_holds_its_part_of_the_decoder_and_all_of_the_encoder(
    ranks: Ranks, saved: dict[str, Path]
) -> None:
    size = len(ranks.processes)
    whole = {name: tuple(tensor.shape) for name, tensor in tiny_pixtral(n_kv_heads=4).state_dict().items()}
    for shapes in ranks(shard_shapes, saved["mistral"]):
        assert list(shapes) == list(whole)
        assert shapes["layers.0.attention.wk.weight"] == (64 // size, 48)
        assert shapes["layers.2.attention.wo.weight"] == (48, 192 // size)
        assert shapes["layers.1.feed_forward.w2.weight"] == (48, 56 // size)
        assert shapes["output.weight"] == shapes["tok_embeddings.weight"] == (64 // size, 48)
        for name, shape in shapes.items():
            if name.startswith("vision") or "norm" in name:
                assert shape == whole[name]


def loaded_beside(world: World, folder: Path) -> list[str]:
    load_shard(folder, world, torch.float32)
    return [name for name in ("transformers", "torch._dynamo") if name in sys.modules]


def test_a_rank_loads_no_transformers(ranks: Ranks, saved: dict[str, Path]) -> None:
    """Which DeepSpeed would import, and torch's compiler with it: 5 seconds of each rank's start."""
    assert ranks(loaded_beside, saved["mistral"]) == [[]] * len(ranks.processes)


def load_refused(world: World, folder: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_shard(folder, world, torch.float32)
    return str(error.value)


def test_a_checkpoint_that_does_not_fit_is_refused_by_every_rank(ranks: Ranks, tmp_path: Path) -> None:
    model = tiny_pixtral(n_kv_heads=4)
    save_model(model, tmp_path)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name != "norm.weight"}
    save_file(tensors | {"output.weight": torch.zeros(60, 48)}, tmp_path / "consolidated.safetensors")
    for message in ranks(load_refused, tmp_path):
        assert "2 problems" in message
        assert "missing: norm.weight" in message
        assert "shape of output.weight: [60, 48], expected [64, 48]" in message


def refusal(world: World, folder: Path) -> str:
    with pytest.raises(ValueError, match="choose one of") as error:
        load_shard(folder, world, torch.float32)
    return str(error.value)


def test_too_many_ranks_are_refused_with_the_sizes_that_fit(ranks: Ranks, tmp_path: Path) -> None:
    save_model(tiny_pixtral(n_kv_heads=1), tmp_path)
    for message in ranks(refusal, tmp_path):
        assert message.endswith("choose one of 1")


def anonymous_bytes() -> int:
    """Memory of this process that is no file's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError("the kernel does not say")


def peak_of_a_load(world: World, small: Path, folder: Path) -> int:
    load_shard(small, world, torch.bfloat16)  # imports
    before = peak = anonymous_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    model = load_shard(folder, world, torch.bfloat16)
    done.set()
    watcher.join()
    assert model.config.dim == 512
    return peak - before


def test_a_rank_takes_memory_for_its_slices_alone(
    ranks: Ranks, saved: dict[str, Path], tmp_path: Path
) -> None:
    """Read from float32, so that nothing in bfloat16 stays mapped from the file."""
    config = replace(
        CONFIG,
        dim=512,
        n_layers=8,
        hidden_dim=2048,
        n_heads=12,
        n_kv_heads=4,
        vocab_size=16384,
        vision=replace(VISION, hidden_size=256, intermediate_size=1024, num_hidden_layers=4),
    )
    shapes = {name: tensor.shape for name, tensor in Pixtral.on_meta(config).state_dict().items()}
    model = Pixtral(config)
    save_model(model, tmp_path)
    del model
    shared = sum(shape.numel() for name, shape in shapes.items() if not name.startswith("vision"))
    encoder = sum(shape.numel() for name, shape in shapes.items() if name.startswith("vision"))
    assert (shared > 40e6, encoder > 4e6) == (True, True)
    allowed = 2 * (shared / len(ranks.processes) + encoder) + 8e6  # and a tensor in float32 on its way
    for peak in ranks(peak_of_a_load, saved["mistral"], tmp_path):
        assert 0.8 * allowed - 8e6 < peak < allowed
