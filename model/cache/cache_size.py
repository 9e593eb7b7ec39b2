"""How many tokens the KV cache can hold in the memory that the model leaves free."""

import torch
from torch import Tensor

from model.cache.host_memory import available_memory
from model.config import PixtralConfig

# Of a GPU's free memory, and at least so many bytes: for graphs that are recorded later, and for what the
# allocator cannot use.
_GPU_RESERVE, _LEAST_RESERVE = 0.02, 256 << 20


def free_memory(device: torch.device) -> int:
    """Bytes that nobody uses."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()


def tokens_that_fit(
    config: PixtralConfig, like: Tensor, step: int, *, fp8: bool = False, ranks: int = 1
) -> int:
    """Tokens of a cache in `like`'s dtype, or in FP8, on its device, where the model is loaded already.

    If `ranks` share the model, the cache holds one rank's part of the heads. On a GPU, the cache takes the
    free memory, but for `step` bytes that steps compute with and for a small reserve. On a CPU, whose memory
    other processes use too, it takes a quarter of the available memory, and at most 262,144 tokens, some 80
    pages. Raises ValueError where there is no room for one.
    """
    vector = config.head_dim + 4 if fp8 else config.head_dim * like.dtype.itemsize
    token = 2 * config.n_layers * (config.n_kv_heads // ranks) * vector
    free = free_memory(like.device)
    if like.is_cuda:
        tokens = (free - step - max(int(free * _GPU_RESERVE), _LEAST_RESERVE)) // token
    else:
        tokens = min(free // 4 // token, 262_144)
    if tokens < 1:
        steps = f", of which steps take {step >> 20}" if step else ""
        raise ValueError(
            f"{free >> 20} MiB are free beside the model{steps}: too little for a cache. Use a smaller "
            "model, a smaller dtype, fewer tokens in a step or a larger machine"
        )
    return int(tokens)
