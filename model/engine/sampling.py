"""The next token of each sequence: logits in, a token and its log-probability out.

Log-probabilities are the model's own, before a mask or a temperature changes the distribution. A random draw
depends on the branch's seed and the token's index in the answer, and on nothing else: batching, preemption
and the device do not change it. Nothing here waits for the device.

Shapes: R rows (sequences that sample), V vocabulary, W words of 32 tokens' bits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.engine.bitmask import mask_logits
from model.engine.sampling_params import SamplingParams
from model.transfer import send


def sample_tokens(
    logits_RV: Tensor, settings: Sequence[tuple[SamplingParams, int]], masks_RW: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A token (R,) for each row, and its log-probability (R,), which is NaN where logits are not finite.

    `settings` has each row's parameters and the index of the token in its answer. `masks_RW` are the masks of
    the rows' grammars. Where a mask allows no token, the one returned is meaningless.
    """
    logits_RV = logits_RV.to(torch.promote_types(logits_RV.dtype, torch.float32))
    allowed_RV = logits_RV if masks_RW is None else mask_logits(logits_RV, masks_RW)
    tokens_R = allowed_RV.argmax(dim=1)
    drawn = [row for row, (sampling, _) in enumerate(settings) if sampling.temperature]
    if drawn:
        rows = send(torch.tensor(drawn), logits_RV.device)
        columns = [
            (settings[row][0].temperature, settings[row][0].top_p, settings[row][0].draw(settings[row][1]))
            for row in drawn
        ]
        numbers = send(torch.tensor(columns, dtype=logits_RV.dtype), logits_RV.device)
        tokens_R = tokens_R.index_copy(0, rows, _drawn(allowed_RV[rows], *numbers.unbind(1)))
    logprobs_R = logits_RV.gather(1, tokens_R[:, None])[:, 0] - logits_RV.logsumexp(dim=1)
    return tokens_R, logprobs_R.where(logits_RV.isfinite().all(dim=1), torch.nan)


def _drawn(logits_RV: Tensor, temperature_R: Tensor, top_p_R: Tensor, uniform_R: Tensor) -> Tensor:
    """Draws a token of each row: sorted by probability, the first at which their sum passes the drawn share.

    Example: of the probabilities 0.5, 0.3 and 0.2, top_p 0.6 keeps the first two, which sum to 0.8. The draw
    0.7 is a share of 0.56 of that: the second token.
    """
    logits_RV, order_RV = (logits_RV / temperature_R[:, None]).sort(dim=1, descending=True, stable=True)
    probabilities_RV = logits_RV.softmax(dim=1)
    passed_RV = probabilities_RV.cumsum(dim=1)
    # At least one, also where there is no distribution because nothing is allowed or a logit is NaN.
    kept_R = (passed_RV - probabilities_RV < top_p_R[:, None]).sum(dim=1).clamp(min=1)
    share_R = passed_RV.gather(1, kept_R[:, None] - 1)
    place_R1 = torch.searchsorted(passed_RV, uniform_R[:, None] * share_R, right=True)
    return order_RV.gather(1, place_R1.minimum(kept_R[:, None] - 1))[:, 0]
