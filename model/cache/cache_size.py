"""How many tokens the KV cache can hold in the memory that the model leaves free."""

import torch
from torch import Tensor

from model.cache.host_memory import available_memory
from model.config import PixtralConfig

# The rest is for the encoder, graphs, sampling, and memory that the allocator cannot use.
_GPU_SHARE = 0.93


def free_memory(device: torch.device) -> int:
    """Bytes that nobody uses."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()


def tokens_that_fit(
    config: PixtralConfig,
    like: Tensor,
    max_num_batched_tokens: int,
    max_num_seqs: int,
    *,
    fp8: bool = False,
    ranks: int = 1,
) -> int:
    """Tokens of a cache in `like`'s dtype, or in FP8, on its device, where the model is loaded already.

    If `ranks` share the model, the cache holds one rank's part of the heads. On a GPU, the cache takes most
    of the free memory, less the memory that a step computes with. On a CPU, whose memory other processes use
    too, it takes a quarter of the available memory, and at most 262,144 tokens, some 80 pages.
    """
    vector = config.head_dim + 4 if fp8 else config.head_dim * like.dtype.itemsize
    token = 2 * config.n_layers * (config.n_kv_heads // ranks) * vector
    if like.is_cuda:
        # Alive at a time in a layer: the residual stream twice, with queries, keys, values and the
        # attention's output, or with the three tensors of the feed-forward. At the end: float32 logits,
        # twice.
        attention = 2 * (config.n_heads + config.n_kv_heads) * config.head_dim
        width = 2 * config.dim + max(attention, 3 * config.hidden_dim) // ranks
        step = max_num_batched_tokens * width * like.dtype.itemsize + 8 * max_num_seqs * config.vocab_size
        free = int(free_memory(like.device) * _GPU_SHARE) - step
        tokens = free // token
    else:
        free = free_memory(like.device)
        tokens = min(free // 4 // token, 262_144)
    if tokens < 1:
        raise ValueError(
            f"{free >> 20} MiB are free beside the model: too little for a cache. Use a smaller model, a "
            "smaller dtype or a larger machine"
        )
    return int(tokens)
