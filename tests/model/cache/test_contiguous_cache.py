import torch

from model.cache.contiguous_cache import ContiguousCache, extend


def test_a_cache_returns_all_that_was_written() -> None:
    k_SGH, v_SGH = torch.randn(2, 300, 2, 4)
    cache = ContiguousCache()
    for start, end in ((0, 1), (1, 100), (100, 101), (101, 300)):
        for layer in range(2):
            k, v = cache.append(layer, k_SGH[start:end] + layer, v_SGH[start:end] - layer)
            assert torch.equal(k, k_SGH[:end] + layer)
            assert torch.equal(v, v_SGH[:end] - layer)
        cache.length = end


def test_branches_go_their_own_ways() -> None:
    cache = ContiguousCache()
    prefix = torch.randn(3, 2, 4)
    cache.append(0, prefix, prefix)
    cache.length = 3
    left, right = cache.branch(), cache.branch()
    for branch, value in ((left, 1.0), (right, 2.0)):
        branch.append(0, torch.full((1, 2, 4), value), torch.full((1, 2, 4), value))
        branch.length = 4
    none = torch.empty(0, 2, 4)
    assert torch.equal(left.append(0, none, none)[0], torch.cat((prefix, torch.full((1, 2, 4), 1.0))))
    assert torch.equal(right.append(0, none, none)[1], torch.cat((prefix, torch.full((1, 2, 4), 2.0))))
    assert torch.equal(cache.append(0, none, none)[0], prefix)


def test_extend_packs_what_each_sequence_attends_to() -> None:
    caches = [ContiguousCache(), ContiguousCache()]
    past = torch.randn(2, 1, 4)
    caches[1].append(0, past, past)
    caches[1].length = 2
    new = torch.randn(4, 1, 4)
    keys, values = extend(caches, [3, 1], 0, new, -new)
    assert torch.equal(keys, torch.cat((new[:3], past, new[3:])))
    assert torch.equal(values, torch.cat((-new[:3], past, -new[3:])))
