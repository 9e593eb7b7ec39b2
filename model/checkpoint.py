"""Loads a model from a checkpoint's folder, and saves one.

In: a folder that `checkpoint_files` has checked. Out: a Pixtral with every tensor in place.

On the CPU, weights in the file's own dtype stay mapped from the file. So loading costs next to nothing, and
processes share the memory.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoint_files import is_mistral, load_config, open_tensors
from model.config import PixtralConfig
from model.network.pixtral import Pixtral


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
    mistral = is_mistral(folder)
    state = {}
    with ExitStack() as stack:
        # If the file were opened for a GPU, whole tensors would be copied there to be cut.
        opened_for = "cpu" if cuts else str(device)
        shapes = {name: tuple(tensor.shape) for name, tensor in whole.state_dict().items()}
        found = open_tensors(folder, shapes, stack, framework="pt", device=opened_for)
        for name, (file, name_there) in found.items():
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


def _head_dim(name: str, config: PixtralConfig) -> int:
    return config.vision.head_dim if name.startswith("vision_encoder.") else config.head_dim


def _unpermute(weight: Tensor, head_dim: int) -> Tensor:
    """Reorders the rows of a q or k projection from Hugging Face's order of rotated pairs to Mistral's.

    Hugging Face keeps the first halves of all pairs together, Mistral keeps each pair together. With head_dim
    6, Mistral's rows (0, 1, 2, 3, 4, 5) are Hugging Face's rows (0, 3, 1, 4, 2, 5).
    """
    return weight.view(-1, 2, head_dim // 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
