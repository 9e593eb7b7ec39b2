"""From a model to what computes an engine's batches: the plain network, or a GPU's over fused weights.

In: a model, whole or a rank's shard, and how the engine shall work. Out: a network over a new cache. Here is
decided how many tokens the cache holds; nothing of requests.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.cache.paged_cache import PagedCache, cache_tokens
from model.collectives.all_reduce import make_sums
from model.collectives.world import World
from model.engine.repetition import RepetitionLimit
from model.engine.runner import Network
from model.executor.eager import PlainNetwork
from model.network.pixtral import Pixtral


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How much an engine does at a time, and how much it remembers."""

    step_tokens: int | None = None
    """Most tokens computed in a step, of all sequences together; None: 16,384 on a GPU, 8,192 on a CPU."""
    sequences: int = 256
    """Sequences that run at a time."""
    block_size: int = 64
    """Tokens of a cache block: sharing is by whole blocks, and each branch wastes half of one."""
    cache_tokens: int | None = None
    """Tokens whose keys and values the cache holds; None: as many as free memory allows."""
    reserve: float = 1.0
    """Share of what the admitted may still write that admission keeps free: below 1, more run at a time, and
    the latest is computed again when they do write it."""
    encode_patches: int | None = None
    """Patches up to which the encoder goes on with the pages of waiting groups once it has to run; None: on a
    GPU as many as fill it, on a CPU only what the step needs."""
    ahead: bool | None = None
    """Launch a step before the one before it is read; None: on a GPU, whose time it saves."""
    fused: bool | None = None
    """Compute with a GPU's kernels instead of plain torch; None: on a GPU."""
    fp8_weights: bool = False
    """Multiply in FP8 in encoder and decoder; needs the kernels."""
    fp8_cache: bool = False
    """Keep keys and values in FP8: half the memory and half the reading; needs the kernels."""
    graphs: bool = True
    """On a GPU, replay small steps as CUDA graphs."""
    overlap: int | None = None
    """Tokens of a step from which on several GPUs that share the model compute it in two halves, each while
    they sum up the other's partial results; None: never. Needs the kernels."""
    repetition: RepetitionLimit = field(default=RepetitionLimit())
    """When an answer counts as a loop."""

    def __post_init__(self) -> None:
        for name in ("step_tokens", "sequences", "block_size", "cache_tokens", "overlap"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")


def make_network(model: Pixtral, config: EngineConfig, world: World | None = None) -> Network:
    """What computes this model's batches, over a new cache.

    Of a model that is a rank's shard, `world` are the ranks, all of which must call it: the one with the
    least free memory says how much their caches hold.
    """
    weight: Tensor = model.get_parameter("layers.0.attention.wk.weight")
    like = weight.new_empty(0)
    head_dim = model.config.head_dim
    heads = len(weight) // head_dim  # of this rank, if several share the model
    fused = weight.is_cuda if config.fused is None else config.fused
    if config.fp8_weights or config.fp8_cache:
        _check_fp8(weight.device, fused)
    if fused:
        from model.executor.cuda import FusedNetwork  # Triton, which torch brings for GPUs alone

        # Before the cache is sized: FP8 weights leave more memory for it.
        fused_network = FusedNetwork(
            model,
            fp8=config.fp8_weights,
            replayed=config.sequences if config.graphs and weight.is_cuda else 0,
            sums=None if world is None else make_sums(world, step_tokens(config, weight), model.norm.weight),
            halved=config.overlap,
        )
    tokens = config.cache_tokens
    if tokens is None:
        tokens = cache_tokens(
            model.config,
            like,
            step_tokens(config, weight),
            config.sequences,
            fp8=config.fp8_cache,
            ranks=ranks_of(model),
        )
        tokens = tokens if world is None else world.least(tokens)
    cache = PagedCache(
        layers=len(model.layers),
        blocks=tokens // config.block_size,
        size=config.block_size,
        heads=heads,
        width=head_dim,
        like=like,
        fp8=config.fp8_cache,
    )
    return fused_network.over(cache) if fused else PlainNetwork(model, cache)


def ranks_of(model: Pixtral) -> int:
    """How many share the model: its shapes say it."""
    weight: Tensor = model.get_parameter("layers.0.attention.wk.weight")
    return model.config.n_kv_heads * model.config.head_dim // len(weight)


def step_tokens(config: EngineConfig, weight: Tensor) -> int:
    """Most tokens of a step where the weights are."""
    return (16384 if weight.is_cuda else 8192) if config.step_tokens is None else config.step_tokens


def _check_fp8(device: torch.device, fused: bool) -> None:
    """ValueError where the kernels that compute in FP8 cannot run."""
    if not fused:
        raise ValueError("FP8 needs a GPU's kernels: run on a Hopper GPU (H100, H200), or leave FP8 out")
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (9, 0):
        name = torch.cuda.get_device_name(device)
        raise ValueError(f"FP8 needs a Hopper GPU (H100, H200) or newer, and this is {name}: leave FP8 out")
