"""The network as a GPU computes it best: products over fused weights, and one pass over memory between two.

In: a layer's inputs, or images. Out: its outputs, or features. Equal to `TransformerBlock` and
`Pixtral.encode_images`, which are the reference. The model's parameters become views of the fused ones, so
that nothing is kept twice. With `fp8`, products are in FP8: weights by output channel, their inputs by token;
the separate weights are given up.

Of a model that is shared out, `wo` and `w2` give parts of sums. What computes with them is a generator, which
yields when a sum is under way: `in_turn` computes something else in the meantime, if there is any.

Shapes: T tokens, R rows that sample, P patches, D width, N query heads, G key and value heads, H head width,
F width inside the feed-forward, X a fused product's width, V vocabulary.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from model.collectives.all_reduce import Late, Sums
from model.kernels.elementwise import Quantized, norm, quantize, swiglu, turn
from model.network.layers import Segments, TransformerBlock, packed_attention
from model.network.pixtral import Pixtral

FusedAttentionFn = Callable[[Tensor], Tensor]
"""From a layer's fused queries, keys and values (T, X) to the attention output (T, N * H)."""

T = TypeVar("T")
Pauses = Generator[None, None, T]
"""A computation that pauses while ranks sum up."""


def in_turn(*parts: Pauses[T]) -> list[T]:
    """What the parts give, of which each goes on while the others' sums are under way."""
    results: dict[int, T] = {}
    while len(results) < len(parts):
        for index, part in enumerate(parts):
            if index not in results:
                try:
                    next(part)
                except StopIteration as end:
                    results[index] = end.value
    return [results[index] for index in range(len(parts))]


class Product:
    """x @ weight.T, of the weights of several products that read the same x."""

    def __init__(self, *weights: Tensor, fp8: bool = False, sums: Sums | None = None) -> None:
        """With `sums`, the weights are columns of the whole ones, and a product is a part of a sum."""
        fused_XD = weights[0].data if len(weights) == 1 else torch.cat([weight.data for weight in weights])
        start = 0
        for weight in weights:
            weight.data = fused_XD[start : start + len(weight)]
            start += len(weight)
        self._weight_XD = fused_XD
        self._sums = sums
        self._fp8: Quantized | None = None
        if fp8:
            self._fp8 = quantize(fused_XD)
            for weight in weights:  # nobody multiplies with them any more, but their heads are counted
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

    def onto(self, x_TD: Tensor, out_TF: Tensor | Quantized) -> Pauses[Late]:
        """Adds the product with `out_TF` to x_TD in place; or returns what has still to be added."""
        if self._sums is not None:
            coming = self._sums.begin(self(out_TF, out=self._sums.place(len(x_TD))))
            yield
            return coming.wait()
        if self._fp8 is not None:
            return (self(out_TF),)
        assert isinstance(out_TF, Tensor), "an FP8 input needs FP8 weights"
        torch.addmm(x_TD, out_TF, self._weight_XD.T, out=x_TD)
        return ()


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


@dataclass(frozen=True)
class Layer:
    """A transformer block's weights, fused."""

    wqkv: Product
    wo: Product
    w13: Product
    w2: Product
    attention_norm: nn.RMSNorm
    ffn_norm: nn.RMSNorm
    queries: int
    """Query heads."""
    groups: int
    """Key and value heads."""
    width: int
    """Of a head."""

    @classmethod
    def of(cls, block: TransformerBlock, *, fp8: bool = False, sums: Sums | None = None) -> "Layer":
        attention, feed_forward = block.attention, block.feed_forward
        width = attention.head_dim
        queries, groups = len(attention.wq.weight) // width, len(attention.wk.weight) // width
        wqkv = Product(attention.wq.weight, attention.wk.weight, attention.wv.weight, fp8=fp8)
        return cls(
            wqkv=wqkv,
            wo=Product(attention.wo.weight, fp8=fp8, sums=sums),
            w13=Product(feed_forward.w1.weight, feed_forward.w3.weight, fp8=fp8),
            w2=Product(feed_forward.w2.weight, fp8=fp8, sums=sums),
            attention_norm=block.attention_norm,
            ffn_norm=block.ffn_norm,
            queries=queries,
            groups=groups,
            width=width,
        )

    def __call__(self, x_TD: Tensor, late: Late, attend: FusedAttentionFn) -> Pauses[Late]:
        """The block, in place; returns what has still to be added to x_TD, as `late` had before it."""
        fp8 = self.wqkv.fp8
        out_TX = attend(self.wqkv(normalized(self.attention_norm, x_TD, late, fp8)))
        late = yield from self.wo.onto(x_TD, quantize(out_TX) if fp8 else out_TX)
        return (yield from self.feed(x_TD, late))

    def feed(self, x_TD: Tensor, late: Late) -> Pauses[Late]:
        """The feed-forward half."""
        fp8 = self.wqkv.fp8
        gate_up_TF = self.w13(normalized(self.ffn_norm, x_TD, late, fp8))
        return (yield from self.w2.onto(x_TD, swiglu(gate_up_TF, quantize=fp8)))


def normalized(module: nn.RMSNorm, x_TD: Tensor, late: Late, fp8: bool = False) -> Tensor | Quantized:
    """The norm of x_TD, to which `late` is added in place first."""
    assert module.eps is not None
    return norm(x_TD, module.weight, module.eps, add=late, quantize=fp8)


class FusedEncoder:
    """Images to features."""

    def __init__(self, model: Pixtral, *, fp8: bool) -> None:
        self._model = model
        self._layers = [Layer.of(block, fp8=fp8) for block in model.vision_encoder.transformer.layers]  # type: ignore[arg-type]  # a ModuleList of them

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """Normalised images (3, H, W), sides on the patch grid -> (P, D), image after image."""
        x_PD, rotation_P2H, lengths = self._model.vision_encoder.embed(images)
        segments = Segments.of(lengths, lengths, causal=False, device=x_PD.device)
        late: Late = ()
        for layer in self._layers:
            heads, width = layer.queries, layer.width

            def attend(qkv_PX: Tensor, heads: int = heads, width: int = width) -> Tensor:
                turn(qkv_PX, rotation_P2H, 2 * heads)
                q_PNH, k_PNH, v_PNH = qkv_PX.unflatten(1, (3, heads, width)).unbind(1)
                return packed_attention(q_PNH, k_PNH, v_PNH, segments).flatten(1)

            [late] = in_turn(layer(x_PD, late, attend))
        for part_PD in late:
            x_PD += part_PD
        features_PD: Tensor = self._model.vision_language_adapter(x_PD)
        return features_PD
