"""Blocks are copied whole: keys, values, and in FP8 the factors of both."""

import torch

from model.cache.paged_cache import PagedCache


def test_blocks_are_copied_all_at_once() -> None:
    cache = PagedCache(layers=1, blocks=3, size=1, heads=1, width=1, like=torch.empty(0))
    cache.k_LCSGH[0, :, 0, 0, 0] = torch.tensor([1.0, 2.0, 3.0])
    cache.v_LCSGH[0, :, 0, 0, 0] = torch.tensor([4.0, 5.0, 6.0])
    cache.copy([(0, 1), (1, 2)])
    assert cache.k_LCSGH.flatten().tolist() == [1, 1, 2]
    assert cache.v_LCSGH.flatten().tolist() == [4, 4, 5]
    cache.copy([])


def test_copied_blocks_in_fp8_take_their_factors_along() -> None:
    cache = PagedCache(layers=1, blocks=2, size=1, heads=1, width=1, like=torch.empty(0), fp8=True)
    cache.k_LCSGH.view(torch.uint8).flatten()[:] = torch.tensor([1, 2])
    cache.k_scales_LCGS.flatten()[:] = torch.tensor([3.0, 4.0])
    cache.copy([(0, 1)])
    assert cache.k_LCSGH.view(torch.uint8).flatten().tolist() == [1, 1]
    assert cache.k_scales_LCGS.flatten().tolist() == [3, 3]
