"""Fused weights and their products, in the model's own numbers or in FP8.

In FP8 there is a scale for each output channel of the weights and for each token of the input, and the
separate weights are given up.

Shapes: T tokens, D width of the input, X output channels of all fused weights.
"""

import torch
from torch import Tensor

from model.kernels.elementwise import Quantized, quantize


class FusedLinear:
    """x @ weight.T, with the weights of all linear layers that read the same x."""

    def __init__(self, *weights: Tensor, fp8: bool = False) -> None:
        """The weights become views of the fused ones."""
        fused_XD = weights[0].data if len(weights) == 1 else torch.cat([weight.data for weight in weights])
        start = 0
        for weight in weights:
            weight.data = fused_XD[start : start + len(weight)]
            start += len(weight)
        self._weight_XD = fused_XD
        self._fp8: Quantized | None = None
        if fp8:
            self._fp8 = quantize(fused_XD)
            for weight in weights:  # never multiplied again, but their rows are still counted as heads
                weight.data = weight.data.new_empty(len(weight), 0)
            self._weight_XD = fused_XD.new_empty(0)

    @property
    def fp8(self) -> bool:
        return self._fp8 is not None

    def __call__(
        self, x_TD: Tensor | Quantized, rows: slice = slice(None), out: Tensor | None = None
    ) -> Tensor:
        """(T, X), or only the output channels `rows`; in `out`, if it is given."""
        if self._fp8 is None:
            assert isinstance(x_TD, Tensor), "an FP8 input needs FP8 weights"
            return torch.mm(x_TD, self._weight_XD[rows].T, out=out)
        assert isinstance(x_TD, Quantized), "FP8 weights need an FP8 input"
        return _scaled_product(x_TD, self._fp8.values[rows], self._fp8.scales[rows], out)

    def add_to(self, y_TX: Tensor, x_TD: Tensor) -> None:
        """Adds the product to y_TX, in place; not in FP8."""
        torch.addmm(y_TX, x_TD, self._weight_XD.T, out=y_TX)


def _scaled_product(
    x_TD: Quantized, values_XD: Tensor, scales_X1: Tensor, out_TX: Tensor | None = None
) -> Tensor:
    if out_TX is None:
        out_TX = x_TD.scales.new_empty(len(x_TD.values), len(values_XD), dtype=torch.bfloat16)
    torch._scaled_mm(
        x_TD.values,
        values_XD.T,
        scale_a=x_TD.scales,
        scale_b=scales_X1.T.contiguous(),
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
        out=out_TX,
    )
    return out_TX
