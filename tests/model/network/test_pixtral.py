from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from model.cache.contiguous_cache import ContiguousCache
from model.network.pixtral import Pixtral
from tests.model.tiny import image_ids, tiny_pixtral

PROMPTS = [
    [1, 3, *image_ids(2, 3), 20, 21, 4],
    [1, 3, 30, 31, 32, 33, 4],
    [1, 3, *image_ids(1, 4), 22, *image_ids(3, 1), 4, 40, 41],
]
GRIDS = [(2, 3), (1, 4), (3, 1)]


@pytest.fixture(scope="module")
def model() -> Pixtral:
    return tiny_pixtral(dtype=torch.float64)


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(3, r * 16, c * 16, generator=generator, dtype=torch.float64) for r, c in GRIDS]


def embedded(model: Pixtral) -> Tensor:
    ids = [token for prompt in PROMPTS for token in prompt]
    return model.embed(torch.tensor(ids), model.encode_images(images()))


def logits_of(model: Pixtral, lengths: Sequence[int]) -> Tensor:
    logits: Tensor = model(embedded(model), lengths)
    return logits


def test_images_packed_together_do_not_see_one_another(model: Pixtral) -> None:
    alone = torch.cat([model.encode_images([image]) for image in images()])
    torch.testing.assert_close(model.encode_images(images()), alone, rtol=0, atol=1e-12)


def test_sequences_packed_together_do_not_see_one_another(model: Pixtral) -> None:
    lengths = [len(prompt) for prompt in PROMPTS]
    packed = logits_of(model, lengths)
    alone = torch.cat([model(x, [len(x)]) for x in embedded(model).split_with_sizes(lengths)])
    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_cache_changes_nothing(dtype: torch.dtype) -> None:
    model = tiny_pixtral(dtype=dtype)
    lengths = [len(prompt) for prompt in PROMPTS]
    x_TD = model.embed(
        torch.tensor([token for prompt in PROMPTS for token in prompt]),
        model.encode_images([image.to(dtype) for image in images()]),
    )
    expected = model(x_TD, lengths)
    parts = x_TD.split_with_sizes(lengths)
    caches = [ContiguousCache() for _ in PROMPTS]
    got: list[list[Tensor]] = [[] for _ in PROMPTS]
    # 4 tokens of each, then 1 of each, then what is left, in different amounts.
    for begin, end in ((0, 4), (4, 5), (5, None)):
        pieces = [part[begin:end] for part in parts]
        logits = model(torch.cat(pieces), [len(piece) for piece in pieces], caches)
        for rows, chunk in zip(got, logits.split_with_sizes([len(piece) for piece in pieces]), strict=True):
            rows.append(chunk)
    assert [cache.length for cache in caches] == lengths
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.3}[dtype]
    torch.testing.assert_close(torch.cat([torch.cat(rows) for rows in got]), expected, rtol=0, atol=tolerance)


def test_rows_picks_positions(model: Pixtral) -> None:
    lengths = [len(prompt) for prompt in PROMPTS]
    rows = torch.tensor([lengths[0] - 1, sum(lengths) - 1])
    picked = model(embedded(model), lengths, rows=rows)
    torch.testing.assert_close(picked, logits_of(model, lengths)[rows], rtol=0, atol=1e-12)


def test_a_later_token_changes_no_earlier_logits(model: Pixtral) -> None:
    x_TD = embedded(model)[: len(PROMPTS[0])]
    changed = x_TD.clone()
    changed[-1] += 1
    before, after = model(x_TD, [len(x_TD)]), model(changed, [len(x_TD)])
    assert torch.equal(before[:-1], after[:-1])
    assert not torch.equal(before[-1], after[-1])


def test_only_image_tokens_are_replaced_and_in_order(model: Pixtral) -> None:
    features = model.encode_images(images()[:1])
    ids = torch.tensor([1, 3, *image_ids(2, 3), 20])
    x_TD = model.embed(ids, features)
    assert torch.equal(x_TD[ids == 10], features)
    assert torch.equal(x_TD[ids != 10], model.tok_embeddings.weight[ids[ids != 10]])


@pytest.mark.parametrize("patches", [None, 5, 7])
def test_as_many_image_tokens_as_patches(model: Pixtral, patches: int | None) -> None:
    features = None if patches is None else torch.zeros(patches, 48, dtype=torch.float64)
    with pytest.raises(ValueError, match=f"6 image tokens for {patches or 0} patches"):
        model.embed(torch.tensor(image_ids(2, 3)), features)


@pytest.mark.parametrize("shape", [(3, 16, 24), (3, 0, 16), (1, 16, 16)])
def test_an_image_off_the_grid_is_refused(model: Pixtral, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of the patch, 16 pixels"):
        model.encode_images([torch.zeros(shape, dtype=torch.float64)])


def test_every_parameter_learns_also_under_autocast() -> None:
    model = tiny_pixtral().requires_grad_(True)
    pictures = [image.float() for image in images()]
    ids = torch.tensor([token for prompt in PROMPTS for token in prompt])
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(model.embed(ids, model.encode_images(pictures)), [len(p) for p in PROMPTS])
    logits.float().log_softmax(-1)[:, 20].sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
