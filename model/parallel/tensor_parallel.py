"""Loads one rank's shard of a model, cut by DeepSpeed's tensor-parallel inference.

In: a checkpoint's folder and a World. Out: a Pixtral whose decoder has this rank's heads, channels and tokens
of the vocabulary; encoder and adapter are whole. Each rank reads only its slices of the weights. Refused are
a number of ranks that does not divide the model (`config.check_tensor_parallel_size`), and all that
`load_model` refuses. This is the only file that knows DeepSpeed; its oddities stand beside the lines that
work around them.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist

from model.checkpoint import Cut, load_tensors
from model.checkpoint_files import load_config
from model.collectives.world import World
from model.config import PixtralConfig, check_tensor_parallel_size
from model.network.layers import TransformerBlock
from model.network.pixtral import Pixtral
from model.parallel.shards import EmbeddingShard, OutputShard

# Their inputs are cut among the ranks, so that their products must be summed. All others are cut by outputs.
_SUMMED = ("attention.wo", "feed_forward.w2")


def load_shard(folder: Path, world: World, dtype: torch.dtype) -> Pixtral:
    """This rank's shard, on its device, in evaluation mode; all ranks must call it.

    CheckpointError as from `load_model`, ValueError as from `check_tensor_parallel_size`, on all ranks.
    """
    config = load_config(folder)
    model = empty_shard(config, world, dtype)
    whole = Pixtral.on_meta(config)
    state = load_tensors(folder, whole, _cuts(whole, world), device=world.device, dtype=dtype)
    model.load_state_dict(state, assign=True)
    world.barrier()
    return model.eval().requires_grad_(False)


def empty_shard(config: PixtralConfig, world: World, dtype: torch.dtype) -> Pixtral:
    """The modules and shapes of this rank's shard, on meta; all ranks must call it.

    ValueError as `check_tensor_parallel_size` raises it.
    """
    check_tensor_parallel_size(config, world.size)
    whole, model = Pixtral.on_meta(config), Pixtral.on_meta(config)
    _cut_layers(model, world, dtype)
    model.add_module("tok_embeddings", EmbeddingShard(model.tok_embeddings, world))
    model.add_module("output", OutputShard(model.output, world))
    model.all_reduce = world.all_reduce
    _check_shapes(model, whole, _cuts(whole, world))
    return model


def _cut_layers(model: Pixtral, world: World, dtype: torch.dtype) -> None:
    """Has DeepSpeed replace the projections of the decoder's blocks, on meta, by ones that are cut."""
    # Imported here: it takes seconds, and chooses its accelerator at import, after `join` has named it.
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # DeepSpeed would compile a shared-memory all-reduce for minutes; a dead rank hangs the others in it, and
    # a process killed while it compiles leaves a lock that hangs all later runs.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(verbose=False)
    world.barrier()
    # DeepSpeed is given the group. One that it made itself would have a time-out of 30 minutes, not the
    # world's.
    everyone = dist.group.WORLD
    with _no_transformers():
        deepspeed.init_inference(
            model,
            tensor_parallel={
                "tp_size": world.size,
                "tp_grain_size": 1,  # the default of 64 gives rank 0 all of a narrow feed-forward
                "tp_group": everyone,
                "mpu": SimpleNamespace(get_model_parallel_group=lambda: everyone),
            },
            injection_policy={TransformerBlock: _SUMMED},
            # It knows no float64, which tests use. The type does not matter yet: all tensors are on meta.
            dtype=torch.float32 if dtype == torch.float64 else dtype,
            keep_module_on_host=True,  # that is, on meta, until the slices are read
        )


@contextmanager
def _no_transformers() -> Iterator[None]:
    """Keeps DeepSpeed from importing transformers, which takes 5 seconds a rank.

    DeepSpeed asks whether a block is GPT-2's of transformers, and no argument keeps it from asking.
    """
    if "transformers" in sys.modules:
        yield
        return
    gpt2 = SimpleNamespace(modeling_gpt2=SimpleNamespace(GPT2Block=None))
    sys.modules["transformers"] = SimpleNamespace(models=SimpleNamespace(gpt2=gpt2))  # type: ignore[assignment]  # no module
    try:
        yield
    finally:
        del sys.modules["transformers"]


def _cuts(whole: Pixtral, world: World) -> dict[str, Cut]:
    """This rank's slice of each tensor that is cut."""
    cuts = {}
    for name, tensor in whole.state_dict().items():
        module = name.removesuffix(".weight")
        if module in ("tok_embeddings", "output") or (module.startswith("layers.") and tensor.ndim == 2):
            dim = 1 if module.endswith(_SUMMED) else 0
            length = tensor.shape[dim] // world.size
            cuts[name] = Cut(dim, world.rank * length, (world.rank + 1) * length)
    return cuts


def _check_shapes(model: Pixtral, whole: Pixtral, cuts: dict[str, Cut]) -> None:
    """Asserts that DeepSpeed has cut the tensors as `cuts` says, and no others: its way is not documented."""
    expected = {name: list(tensor.shape) for name, tensor in whole.state_dict().items()}
    for name, cut in cuts.items():
        expected[name][cut.dim] = cut.end - cut.start
    chosen = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = {name: shape for name, shape in chosen.items() if shape != expected.get(name)}
    assert chosen.keys() == expected.keys(), sorted(chosen.keys() ^ expected.keys())
    assert not wrong, wrong
    assert not list(model.buffers()), "a buffer that is no checkpoint's would be garbage"
