"""Makes the executor of a model: plain torch, or a GPU's kernels over fused weights, with a new cache.

In: a model, whole or one rank's shard, and an `ExecutorConfig`. Out: an executor. Here is decided how many
tokens the cache holds. This file knows nothing of requests, so ranks that only follow import no grammars.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.cache.cache_size import tokens_that_fit
from model.cache.paged_cache import PagedCache
from model.collectives.all_reduce import make_reducer
from model.collectives.world import World
from model.config import check_fp8_widths
from model.executor.eager import EagerExecutor
from model.executor.executor import Executor
from model.network.pixtral import Pixtral

GPU_ENCODE_PATCHES = 16384
"""Patches that keep a GPU busy in the encoder: some five pages of A4. Ranks encode as many each."""


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """How much a step may hold, how much the cache holds, and with which kernels both are computed."""

    max_num_batched_tokens: int | None = None
    """Most tokens of a step, of all sequences together. None: 16,384 on a GPU, 8,192 on a CPU."""
    max_num_seqs: int = 256
    """Most sequences that run at a time."""
    block_size: int = 64
    """Tokens of a cache block. Prefixes are shared by whole blocks, and each branch wastes half of one."""
    cache_tokens: int | None = None
    """Tokens whose keys and values the cache holds. None: as many as free memory allows."""
    fused: bool | None = None
    """Compute with a GPU's kernels instead of plain torch. None: on a GPU."""
    fp8_weights: bool = False
    """Multiply in FP8 in encoder and decoder. Needs the kernels."""
    fp8_cache: bool = False
    """Keep keys and values in FP8: half the memory and half the reading. Needs the kernels."""
    graphs: bool = True
    """On a GPU, replay small steps as CUDA graphs."""
    overlap: int | None = None
    """Several GPUs that share the model cut a step of at least so many tokens into two micro-batches, and
    compute one while they sum up the other. None: never. Needs the kernels."""
    split: int | None = None
    """Several GPUs that share the model split the residual stream of a step of at least so many tokens among
    them: each computes the norms of its share. None: never. Needs the kernels."""

    def __post_init__(self) -> None:
        for name in (
            "max_num_batched_tokens",
            "max_num_seqs",
            "block_size",
            "cache_tokens",
            "overlap",
            "split",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")


def make_executor(model: Pixtral, config: ExecutorConfig, world: World | None = None) -> Executor:
    """The executor of this model, over a new cache.

    If the model is one rank's shard, all ranks of `world` must call this. The rank with the least free memory
    decides how much their caches hold.
    """
    weight: Tensor = model.get_parameter("layers.0.attention.wk.weight")
    like = weight.new_empty(0)
    heads = len(weight) // model.config.head_dim  # of this rank, if several share the model
    fused = weight.is_cuda if config.fused is None else config.fused
    if config.fp8_weights or config.fp8_cache:
        _check_fp8(weight.device, fused)
    if config.fp8_weights:
        check_fp8_widths(model.config, ranks_of(model))
    if not fused:
        return EagerExecutor(model, _make_cache(model, config, world, like, heads, 0))
    # They import Triton, which torch brings for GPUs alone.
    from model.executor.cuda import CudaExecutor
    from model.executor.fused_layers import FusedModel

    reducer = None
    if world is not None:
        reducer = make_reducer(world, max_num_batched_tokens(config, weight), model.norm.weight)
    fused_model = FusedModel(model, fp8=config.fp8_weights, reducer=reducer, world=world)
    step = 0
    if weight.is_cuda and config.cache_tokens is None:
        from model.executor.dry_run import measure_step

        step = measure_step(
            fused_model,
            _cache_of(model, config, like, heads, blocks=2),
            tokens=max_num_batched_tokens(config, weight),
            seqs=config.max_num_seqs,
            patches=GPU_ENCODE_PATCHES,
            graphs=config.graphs,
            overlap=config.overlap,
            split=config.split,
            world=world,
        )
    return CudaExecutor(
        fused_model,
        _make_cache(model, config, world, like, heads, step),
        max_graph_seqs=config.max_num_seqs if config.graphs and weight.is_cuda else 0,
        overlap=config.overlap,
        split=config.split,
    )


def _make_cache(
    model: Pixtral, config: ExecutorConfig, world: World | None, like: Tensor, heads: int, step: int
) -> PagedCache:
    """`step` bytes are kept free for the largest steps."""
    tokens = config.cache_tokens
    if tokens is None:
        tokens = tokens_that_fit(model.config, like, step, fp8=config.fp8_cache, ranks=ranks_of(model))
        tokens = tokens if world is None else world.minimum(tokens)
    return _cache_of(model, config, like, heads, blocks=tokens // config.block_size)


def _cache_of(model: Pixtral, config: ExecutorConfig, like: Tensor, heads: int, blocks: int) -> PagedCache:
    return PagedCache(
        layers=len(model.layers),
        blocks=blocks,
        size=config.block_size,
        heads=heads,
        width=model.config.head_dim,
        like=like,
        fp8=config.fp8_cache,
    )


def ranks_of(model: Pixtral) -> int:
    """The number of ranks that share the model, from the shapes of its weights."""
    weight: Tensor = model.get_parameter("layers.0.attention.wk.weight")
    return model.config.n_kv_heads * model.config.head_dim // len(weight)


def max_num_batched_tokens(config: ExecutorConfig, weight: Tensor) -> int:
    """Most tokens of a step: the configured number, or the default of the device that has the weights."""
    if config.max_num_batched_tokens is not None:
        return config.max_num_batched_tokens
    return 16384 if weight.is_cuda else 8192


def _check_fp8(device: torch.device, fused: bool) -> None:
    """ValueError where the kernels that compute in FP8 cannot run."""
    if not fused:
        raise ValueError("FP8 needs a GPU's kernels: run on a Hopper GPU (H100, H200), or leave FP8 out")
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (9, 0):
        name = torch.cuda.get_device_name(device)
        raise ValueError(f"FP8 needs a Hopper GPU (H100, H200) or newer, and this is {name}: leave FP8 out")
