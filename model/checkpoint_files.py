"""The files of a checkpoint: which there are, which tensors they hold, and whether these are a Pixtral's.

In: a folder with `params.json` and `consolidated*.safetensors` (Mistral), or `config.json` and
`model*.safetensors` (Hugging Face), sharded or not. Out: the model's shape, and each tensor's place. All
tensors that are missing, unknown or of a wrong shape are listed in one CheckpointError, before any tensor is
read. Only safetensors are read: other formats can run code.

A run's driver checks its checkpoint with this, without torch: `checkpoint` loads it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from model.config import PixtralConfig

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


def check_checkpoint(folder: Path) -> PixtralConfig:
    """The model's shape. CheckpointError if `load_model` would not find every tensor. Reads no tensor."""
    config = load_config(folder)
    with ExitStack() as stack:
        open_tensors(folder, tensor_shapes(config), stack, framework="numpy", device="cpu")
    return config


def open_tensors(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], stack: ExitStack, *, framework: str, device: str
) -> dict[str, tuple[Any, str]]:
    """For each of these tensors: the open file that holds it, and its name in that file.

    The files stay open until `stack` closes. CheckpointError unless they hold these tensors and no others.
    """
    found = _find_tensors(tensor_files(folder), stack, framework, device)
    sources = _sources(folder, shapes)
    _check(folder, shapes, found, sources)
    return {name: found[source] for name, source in sources.items()}


def tensor_shapes(config: PixtralConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of a Pixtral of this shape, under Mistral's name."""
    vision = config.vision
    wide, queries, keys = config.dim, config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "tok_embeddings.weight": (config.vocab_size, wide),
        "norm.weight": (wide,),
        "output.weight": (config.vocab_size, wide),
        "vision_language_adapter.w_in.weight": (wide, vision.hidden_size),
        "vision_language_adapter.w_in.bias": (wide,),
        "vision_language_adapter.w_out.weight": (wide, wide),
        "vision_language_adapter.w_out.bias": (wide,),
        "vision_encoder.patch_conv.weight": (
            vision.hidden_size,
            vision.num_channels,
            vision.patch_size,
            vision.patch_size,
        ),
        "vision_encoder.ln_pre.weight": (vision.hidden_size,),
    }
    for layer in range(config.n_layers):
        shapes |= _block_shapes(f"layers.{layer}", wide, queries, keys, config.hidden_dim)
    for layer in range(vision.num_hidden_layers):
        name, width = f"vision_encoder.transformer.layers.{layer}", vision.hidden_size
        shapes |= _block_shapes(name, width, width, width, vision.intermediate_size)
    return shapes


def _block_shapes(block: str, wide: int, queries: int, keys: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The tensors of one transformer block."""
    return {
        f"{block}.attention.wq.weight": (queries, wide),
        f"{block}.attention.wk.weight": (keys, wide),
        f"{block}.attention.wv.weight": (keys, wide),
        f"{block}.attention.wo.weight": (wide, queries),
        f"{block}.feed_forward.w1.weight": (hidden, wide),
        f"{block}.feed_forward.w2.weight": (wide, hidden),
        f"{block}.feed_forward.w3.weight": (hidden, wide),
        f"{block}.attention_norm.weight": (wide,),
        f"{block}.ffn_norm.weight": (wide,),
    }


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


def tensor_files(folder: Path) -> list[Path]:
    """The files that hold the tensors: those that an index names, else all of the layout."""
    stem = "consolidated" if is_mistral(folder) else "model"
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return sorted(folder.glob(f"{stem}*.safetensors"))
    names = indexed_files(index)
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise CheckpointError(f"{index} names files that are not in {folder}: {absent}; download them again")
    return [folder / name for name in names]


def indexed_files(index: Path) -> list[str]:
    """The names of the files in an index of tensors, all beside it. Raises CheckpointError."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        outside = [name for name in names if Path(name).name != name]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"cannot read {index}: {error!r}") from error
    if outside:
        raise CheckpointError(f"{index} names files that are not in its folder: {outside}")
    return names


def _find_tensors(
    files: list[Path], stack: ExitStack, framework: str, device: str
) -> dict[str, tuple[Any, str]]:
    """For each tensor's published name: the open file that holds it, and its name in that file."""
    found: dict[str, tuple[Any, str]] = {}
    for file in files:
        try:
            handle = stack.enter_context(safe_open(file, framework=framework, device=device))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"cannot read {file}: {error}; download it again") from error
        for name_there in handle.keys():  # noqa: SIM118  # not a mapping: it cannot be iterated
            newer = next((prefix for prefix in _NEWER_PREFIXES if name_there.startswith(prefix)), "")
            name = _NEWER_PREFIXES[newer] + name_there.removeprefix(newer) if newer else name_there
            if name in found:
                raise CheckpointError(f"tensor {name} is in two files, one of them {file}; keep one copy")
            found[name] = (handle, name_there)
    return found


def _sources(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The published name of each tensor."""
    mistral = is_mistral(folder)
    return {name: name if mistral else hugging_face_name(name) for name in names}


def _check(
    folder: Path,
    expected: Mapping[str, tuple[int, ...]],
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
        if part.get_shape() != list(expected[name]):
            problems.append(f"shape of {source}: {part.get_shape()}, expected {list(expected[name])}")
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
