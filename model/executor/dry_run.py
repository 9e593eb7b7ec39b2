"""What the largest steps take of a GPU's memory beside weights and cache: measured by computing them once.

In: a fused model. Out: bytes. The steps have as many tokens, rows that sample, gathered keys and patches as
any can have; their cache is two blocks, into which all sequences write. What they compute is thrown away. If
ranks share the model, all of them must do this at the same time. Rank 0 needs most: it gathers the features
that all ranks have encoded.
"""

import gc
from collections.abc import Hashable

import numpy as np
import torch
from torch import Tensor

from model.cache.batch import Batch
from model.cache.cache_size import free_memory
from model.cache.paged_cache import PagedCache
from model.cache.plan import Chunk
from model.collectives.world import World
from model.executor.attention_inputs import GATHERED_KEYS
from model.executor.cuda import CudaExecutor
from model.executor.fused_layers import FusedModel
from model.executor.graphs import DecoderGraphs
from model.executor.vision_parallel import ParallelVisionEncoder


@torch.inference_mode()
def measure_step(
    fused: FusedModel,
    cache: PagedCache,
    *,
    tokens: int,
    seqs: int,
    patches: int,
    graphs: bool,
    overlap: int | None,
    split: int | None,
    world: World | None,
) -> int:
    """Bytes that the largest steps have taken: of so many tokens and sequences, and of so many patches that
    each rank encodes. `cache` has a block or two, of the size and type that the real one will have.

    Memory that the driver, NCCL and cuBLAS took is counted too. torch's own is given back before the end.
    """
    device = fused.model.norm.weight.device
    gc.collect()  # what an engine before this one has left would be counted when it is freed
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    before = free_memory(device)
    allocated = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    executor = CudaExecutor(fused, cache, max_graph_seqs=0, overlap=overlap, split=split)
    # A batch of images is encoded while the features of one before it are still wanted.
    features = [_encoded(fused, patches, world) for _ in range(2)]
    logits_RV = executor.step(_largest_batch(cache, tokens, seqs))
    # Sampling has them twice more, in float32.
    copies = [logits_RV.float() for _ in range(2)]
    recorded = DecoderGraphs.record_largest(executor.decoder, max_num_seqs=seqs) if graphs else None
    torch.cuda.synchronize(device)
    # The peak alone counts what torch had reserved before; the driver alone what others than torch took.
    peak = torch.cuda.max_memory_allocated(device) - allocated
    taken = max(peak, before - free_memory(device))
    del executor, features, logits_RV, copies, recorded
    torch.cuda.empty_cache()
    return taken


def _encoded(fused: FusedModel, patches: int, world: World | None) -> Tensor | None:
    """The features of a rank's largest batch of images, or on rank 0 of the ranks' largest together."""
    if world is None:
        return fused.encode(_images(fused, patches))
    images = _images(fused, patches * world.size)
    images.append(images[0])  # shares of pages are not equal: one rank has up to an image more
    sizes_I2 = np.array([image.shape[1:] for image in images], np.int32)
    encoder = ParallelVisionEncoder(fused.model, fused.encode, world)
    return encoder(sizes_I2, None if world.rank else images)


def _images(fused: FusedModel, patches: int) -> list[Tensor]:
    """Images with at least so many patches, each as large as the encoder takes them."""
    vision = fused.model.config.vision
    side = vision.image_size
    count = -(-patches // (side // vision.patch_size) ** 2)
    like = fused.model.norm.weight
    return [like.new_zeros(vision.num_channels, side, side) for _ in range(count)]


def _largest_batch(cache: PagedCache, tokens: int, seqs: int) -> Batch:
    """Sequences that decode, and two prompts whose keys are gathered one after the other."""
    decoding = max(0, min(seqs, tokens) - 2)
    first = (tokens - decoding) // 2
    chunks = [_chunk(number, cache.size - 1, 1, cache.size) for number in range(decoding)]
    for name, count in (("first", first), ("second", tokens - decoding - first)):
        if count:
            chunks.append(_chunk(name, max(0, GATHERED_KEYS - count), count, cache.size))
    return Batch(
        chunks=chunks,
        ids_T=np.zeros(tokens, np.int32),
        unknown_K2=np.zeros((0, 2), np.int32),
        sampled_before=None,
        patches=(),
    )


def _chunk(key: Hashable, start: int, count: int, size: int) -> Chunk:
    return Chunk(key=key, start=start, count=count, table=(0,) * -(-(start + count) // size), samples=True)
