"""Random tensors and a layer of the cache for the kernels' tests: on a GPU if there is one."""

import torch
from torch import Tensor

from model.cache.paged_cache import CacheLayer

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
QUERIES, GROUPS, WIDTH, SIZE, BLOCKS = 6, 2, 16, 4, 40


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def cache(dtype: torch.dtype, size: int = SIZE) -> CacheLayer:
    shape = (BLOCKS * size, GROUPS, WIDTH)
    k, v = (torch.zeros(shape, device=DEVICE).to(dtype) for _ in range(2))
    return CacheLayer(k, v, *(torch.zeros(BLOCKS, GROUPS, size, device=DEVICE) for _ in range(2)))


def by_slots(scales_CGS: Tensor) -> Tensor:
    """The factor of each key's vectors: (slots, G, 1)."""
    return scales_CGS.transpose(1, 2).flatten(0, 1)[..., None]
