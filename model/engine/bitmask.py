"""Applies the bitmasks of `grammar` to logits, on the device of the logits.

Shapes: R rows, V vocabulary, W words of 32 tokens.
"""

import torch
from torch import Tensor


def mask_logits(logits_RV: Tensor, masks_RW: Tensor) -> Tensor:
    """The logits, but -inf for tokens whose bit is 0. Bit b of the int32 word w is for token 32 w + b."""
    bits = torch.arange(32, dtype=torch.int32, device=masks_RW.device)
    allowed_RV = (masks_RW[:, :, None] >> bits & 1).flatten(1)[:, : logits_RV.shape[1]]
    return logits_RV.masked_fill(allowed_RV == 0, -torch.inf)
