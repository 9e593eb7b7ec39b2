"""Loads a model from a checkpoint's folder, and saves one.

In: `params.json` with `consolidated*.safetensors` (Mistral), or `config.json` with `model*.safetensors`
(Hugging Face), sharded or not. Out: a Pixtral with every tensor in place. All tensors that are missing,
unknown or of a wrong shape are listed in one CheckpointError, before any tensor is read. Only safetensors are
read: other formats can run code.

On the CPU, weights in the file's own dtype stay mapped from the file. So loading costs next to nothing, and
processes share the memory.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.config import PixtralConfig
from model.network.pixtral import Pixtral

# The only table of tensor names: Mistral's, which this project uses, and Hugging Face's. N is a layer.
_NAMES = {
    "tok_embeddings.weight": "language_model.model.embed_tokens.weight",
    "layers.N.attention.wq.weight": "language_model.model.layers.N.self_attn.q_proj.weight",
    "layers.N.attention.wk.weight": "language_model.model.layers.N.self_attn.k_proj.weight",
    "layers.N.attention.wv.weight": "language_model.model.layers.N.self_attn.v_proj.weight",
    "layers.N.attention.wo.weight": "language_model.model.layers.N.self_attn.o_proj.weight",
    "layers.N.feed_forward.w1.weight": "language_model.model.layers.N.mlp.gate_proj.weight",
    "layers.N.feed_forward.w2.weight": "language_model.model.layers.N.mlp.down_proj.weight",
    "layers.N.feed_forward.w3.weight": "language_model.model.layers.N.mlp.up_proj.weight",
    "layers.N.attention_norm.weight": "language_model.model.layers.N.input_layernorm.weight",
    "layers.N.ffn_norm.weight": "language_model.model.layers.N.post_attention_layernorm.weight",
    "norm.weight": "language_model.model.norm.weight",
    "output.weight": "language_model.lm_head.weight",
    "vision_language_adapter.w_in.weight": "multi_modal_projector.linear_1.weight",
    "vision_language_adapter.w_in.bias": "multi_modal_projector.linear_1.bias",
    "vision_language_adapter.w_out.weight": "multi_modal_projector.linear_2.weight",
    "vision_language_adapter.w_out.bias": "multi_modal_projector.linear_2.bias",
    "vision_encoder.patch_conv.weight": "vision_tower.patch_conv.weight",
    "vision_encoder.ln_pre.weight": "vision_tower.ln_pre.weight",
    **{
        f"vision_encoder.transformer.layers.N.{ours}.weight": f"vision_tower.transformer.layers.N.{hf}.weight"
        for ours, hf in (
            ("attention.wq", "attention.q_proj"),
            ("attention.wk", "attention.k_proj"),
            ("attention.wv", "attention.v_proj"),
            ("attention.wo", "attention.o_proj"),
            ("feed_forward.w1", "feed_forward.gate_proj"),
            ("feed_forward.w2", "feed_forward.down_proj"),
            ("feed_forward.w3", "feed_forward.up_proj"),
            ("attention_norm", "attention_norm"),
            ("ffn_norm", "ffn_norm"),
        )
    },
}
# Some releases of transformers 4 saved tensors under the names of their module tree, not the published names.
_NEWER_PREFIXES = {
    "model.language_model.": "language_model.model.",
    "model.vision_tower.": "vision_tower.",
    "model.multi_modal_projector.": "multi_modal_projector.",
    "lm_head.": "language_model.lm_head.",
}


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded. The message lists all of its faults."""


def load_config(folder: Path) -> PixtralConfig:
    """The model's shape. CheckpointError if the folder holds no checkpoint."""
    if is_mistral(folder):
        return PixtralConfig.from_file(folder / "params.json")
    return PixtralConfig.from_hugging_face(folder / "config.json")


def default_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32, which is then the faster of the two.

    A 19 M-parameter Pixtral, a page of 784 x 1024 pixels (3,219 tokens) from the image to 8 answer tokens, on
    2 cores with avx512_bf16, median of 8: 1.6 s in bfloat16, 2.1 s in float32.
    """
    if torch.device(device).type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        abilities = torch.cpu.get_capabilities()
        native = bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def check_checkpoint(folder: Path) -> PixtralConfig:
    """The model's shape. CheckpointError if `load_model` would not find every tensor. Reads no tensor."""
    config = load_config(folder)
    expected = Pixtral.on_meta(config).state_dict()
    with ExitStack() as stack:
        _check(
            folder, expected, _open_tensors(tensor_files(folder), stack, "cpu"), _sources(folder, expected)
        )
    return config


@dataclass(frozen=True)
class Cut:
    """The part of a tensor that one rank holds: `start` to `end` of dimension `dim`, 0 or 1."""

    dim: int
    start: int
    end: int


def load_model(folder: Path, *, device: torch.device | str, dtype: torch.dtype) -> Pixtral:
    """The model in evaluation mode, its tensors read straight to `device` and `dtype`."""
    model = Pixtral.on_meta(load_config(folder))
    model.load_state_dict(load_tensors(folder, model, {}, device=device, dtype=dtype), assign=True)
    return model.eval().requires_grad_(False)


def load_tensors(
    folder: Path,
    whole: Pixtral,
    cuts: Mapping[str, Cut],
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """The tensors of the model `whole`, which may be on meta. Of tensors in `cuts`, only the cut is read.

    Query and key projections must be cut between heads, since Hugging Face permutes the rows of each head.
    """
    expected = whole.state_dict()
    mistral = is_mistral(folder)
    state = {}
    with ExitStack() as stack:
        # If the file were opened for a GPU, whole tensors would be copied there to be cut.
        opened_for = "cpu" if cuts else str(device)
        found = _open_tensors(tensor_files(folder), stack, opened_for)
        sources = _sources(folder, expected)
        _check(folder, expected, found, sources)
        for name, source in sources.items():
            file, name_there = found[source]
            tensor: Tensor
            if (cut := cuts.get(name)) is None:
                tensor = file.get_tensor(name_there)
            else:
                part = slice(cut.start, cut.end)
                tensor = file.get_slice(name_there)[part if cut.dim == 0 else (slice(None), part)]
            tensor = tensor.contiguous().to(device).to(dtype)
            if not mistral and name.endswith((".wq.weight", ".wk.weight")):
                tensor = _unpermute(tensor, _head_dim(name, whole.config))
            state[name] = tensor
    return state


def save_model(model: Pixtral, folder: Path) -> None:
    """Writes params.json and consolidated.safetensors, each of them whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    params = asdict(model.config)
    params["vision_encoder"] = params.pop("vision")
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    # A mapped file must never be written in place, and this model may be mapped from the file to be replaced.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        (Path(scratch) / "params.json").write_text(json.dumps(params, indent=2) + "\n", encoding="utf-8")
        save_file(tensors, Path(scratch) / "consolidated.safetensors", metadata={"format": "pt"})
        for name in ("consolidated.safetensors", "params.json"):
            os.replace(Path(scratch) / name, folder / name)


def is_mistral(folder: Path) -> bool:
    """Whether the folder has Mistral's layout, alone or beside the other. CheckpointError for neither."""
    if (folder / "params.json").is_file() and any(folder.glob("consolidated*.safetensors")):
        return True
    if (folder / "config.json").is_file() and any(folder.glob("model*.safetensors")):
        return False
    raise CheckpointError(
        f"{folder} holds no checkpoint: expected params.json with consolidated.safetensors, as Mistral "
        "publishes Pixtral-12B-2409, or config.json with model*.safetensors, as Hugging Face does "
        "(other weight formats are not read, since they can run code)"
    )


def _sources(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The published name of each tensor."""
    mistral = is_mistral(folder)
    return {name: name if mistral else hugging_face_name(name) for name in names}


def tensor_files(folder: Path) -> list[Path]:
    """The files that hold the tensors: those that an index names, else all of the layout."""
    stem = "consolidated" if is_mistral(folder) else "model"
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return sorted(folder.glob(f"{stem}*.safetensors"))
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"cannot read {index}: {error!r}") from error
    absent = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if absent:
        raise CheckpointError(f"{index} names files that are not in {folder}: {absent}; download them again")
    return [folder / name for name in names]


def _open_tensors(files: list[Path], stack: ExitStack, device: str) -> dict[str, tuple[Any, str]]:
    """For each tensor's published name: the open file that holds it, and its name in that file."""
    found: dict[str, tuple[Any, str]] = {}
    for file in files:
        try:
            handle = stack.enter_context(safe_open(file, framework="pt", device=device))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"cannot read {file}: {error}; download it again") from error
        for name_there in handle.keys():  # noqa: SIM118  # not a mapping: it cannot be iterated
            newer = next((prefix for prefix in _NEWER_PREFIXES if name_there.startswith(prefix)), "")
            name = _NEWER_PREFIXES[newer] + name_there.removeprefix(newer) if newer else name_there
            if name in found:
                raise CheckpointError(f"tensor {name} is in two files, one of them {file}; keep one copy")
            found[name] = (handle, name_there)
    return found


def _check(
    folder: Path,
    expected: dict[str, Tensor],
    found: dict[str, tuple[Any, str]],
    sources: dict[str, str],
) -> None:
    problems = [f"missing: {source}" for source in sources.values() if source not in found]
    problems += [f"unknown: {name}" for name in sorted(found.keys() - sources.values())]
    for name, source in sources.items():
        if source not in found:
            continue
        file, name_there = found[source]
        part = file.get_slice(name_there)
        if part.get_shape() != list(expected[name].shape):
            problems.append(f"shape of {source}: {part.get_shape()}, expected {list(expected[name].shape)}")
        if part.get_dtype() not in ("F64", "F32", "F16", "BF16"):
            problems.append(f"type of {source}: {part.get_dtype()}, expected F64, F32, F16 or BF16")
    if problems:
        raise CheckpointError(
            f"{folder} does not fit its configuration, {len(problems)} problems:\n  " + "\n  ".join(problems)
        )


def hugging_face_name(name: str) -> str:
    """layers.7.ffn_norm.weight -> language_model.model.layers.7.post_attention_layernorm.weight"""
    layer = re.search(r"\.(\d+)\.", name)
    if layer is None:
        return _NAMES[name]
    return _NAMES[name.replace(layer[0], ".N.")].replace(".N.", layer[0])


def _head_dim(name: str, config: PixtralConfig) -> int:
    return config.vision.head_dim if name.startswith("vision_encoder.") else config.head_dim


def _unpermute(weight: Tensor, head_dim: int) -> Tensor:
    """Reorders the rows of a q or k projection from Hugging Face's order of rotated pairs to Mistral's.

    Hugging Face keeps the first halves of all pairs together, Mistral keeps each pair together. With head_dim
    6, Mistral's rows (0, 1, 2, 3, 4, 5) are Hugging Face's rows (0, 3, 1, 4, 2, 5).
    """
    return weight.view(-1, 2, head_dim // 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
