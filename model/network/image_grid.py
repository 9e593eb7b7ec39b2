"""The sizes at which Pixtral sees an image: pixels in, a grid of patches out. No torch, no pixels.

The model sees an image as rows x columns patches of `patch_size` pixels a side. An image whose longest edge
exceeds `max_side` shrinks to it; a smaller one keeps its size; then each side is stretched up to a multiple
of the patch. The rules and their rounding are those of mistral_common's `tokens/tokenizers/image.py`.

Example: 2480 x 3508 pixels (A4 at 300 dpi), max_side 1024, patch 16: the ratio is 3508 / 1024 = 3.43, so the
image becomes 724 x 1024 pixels, which is 46 x 64 patches, which is 736 x 1024 pixels on the grid.
"""


def grid(height: int, width: int, *, max_side: int, patch_size: int) -> tuple[int, int]:
    """The (rows, columns) of patches of an image of `height` x `width` pixels, as in mistral_common."""
    _check(height, width, max_side, patch_size)
    ratio = max(height / max_side, width / max_side)
    if ratio > 1:
        # `round` is Python's, to even at a half; a sliver would otherwise shrink to 0 pixels.
        height, width = max(round(height / ratio), 1), max(round(width / ratio), 1)
    return (height - 1) // patch_size + 1, (width - 1) // patch_size + 1


def fit(height: int, width: int, *, max_side: int, patch_size: int) -> tuple[int, int]:
    """The (height, width) in pixels at which the model sees an image: its grid times the patch."""
    rows, columns = grid(height, width, max_side=max_side, patch_size=patch_size)
    return rows * patch_size, columns * patch_size


def page_size(height_pt: float, width_pt: float, *, max_side: int, patch_size: int) -> tuple[int, int]:
    """The (height, width) in pixels at which to draw a PDF page, so that `fit` leaves it as it is.

    A drawing has no resolution of its own: its longest edge becomes `max_side`, rounded down to a multiple of
    the patch, for small pages too. The sides of the page may be in any unit.
    """
    _check(height_pt, width_pt, max_side, patch_size)
    side = max_side // patch_size * patch_size
    longest = max(height_pt, width_pt)
    height, width = (max(round(edge / longest * side), 1) for edge in (height_pt, width_pt))
    return fit(height, width, max_side=side, patch_size=patch_size)


def _check(height: float, width: float, max_side: int, patch_size: int) -> None:
    if not (0 < height < float("inf") and 0 < width < float("inf")):
        raise ValueError(f"an image of {height} x {width} has no size: both sides must be above 0 and finite")
    if patch_size < 1:
        raise ValueError(f"patch_size is {patch_size}: it must be at least 1 pixel")
    if max_side < patch_size:
        raise ValueError(f"max_side is {max_side}: it must be at least one patch, {patch_size} pixels")
