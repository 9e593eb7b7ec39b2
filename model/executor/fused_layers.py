"""The network's layers as a GPU computes them best: fused weights, and one kernel between two products.

In: a block's inputs, or images. Out: its outputs, or features. They equal `TransformerBlock` and
`Pixtral.encode_images`, which are the reference. The model's parameters become views of the fused weights, so
that nothing is stored twice. With `fp8`, products are in FP8, with a scale for each output channel of the
weights and for each token of the input; the separate weights are given up.

If ranks share the model, the products with `wo` and `w2` are parts of a sum. The functions that compute them
are generators: they yield while the ranks exchange their parts, and `interleave` computes another micro-batch
in the meantime, if there is one.

Shapes: T tokens, R rows that sample, P patches, D width, N query heads, G key and value heads, H head width,
F width inside the feed-forward, X width of a fused product, V vocabulary.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from model.collectives.all_reduce import Addends, Reducer
from model.kernels.elementwise import Quantized, quantize, rms_norm, rope, swiglu
from model.network.layers import Segments, TransformerBlock, packed_attention
from model.network.pixtral import Pixtral

FusedAttentionFn = Callable[[Tensor], Tensor]
"""From a layer's fused queries, keys and values (T, X) to the attention output (T, N * H)."""

T = TypeVar("T")
Pausing = Generator[None, None, T]
"""A computation that yields whenever it waits for the other ranks' parts."""


def interleave(*parts: Pausing[T]) -> list[T]:
    """The results of all parts. While one waits for the other ranks, the next one goes on."""
    results: dict[int, T] = {}
    while len(results) < len(parts):
        for index, part in enumerate(parts):
            if index not in results:
                try:
                    next(part)
                except StopIteration as end:
                    results[index] = end.value
    return [results[index] for index in range(len(parts))]


class FusedLinear:
    """x @ weight.T, with the weights of all linear layers that read the same x."""

    def __init__(self, *weights: Tensor, fp8: bool = False, reducer: Reducer | None = None) -> None:
        """With a `reducer`, the weights are a part of the columns, and a product is a part of a sum."""
        fused_XD = weights[0].data if len(weights) == 1 else torch.cat([weight.data for weight in weights])
        start = 0
        for weight in weights:
            weight.data = fused_XD[start : start + len(weight)]
            start += len(weight)
        self._weight_XD = fused_XD
        self._reducer = reducer
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

    def add_to(self, x_TD: Tensor, out_TF: Tensor | Quantized) -> Pausing[Addends]:
        """Adds the product with `out_TF` to x_TD in place, or returns the addends that it has not added."""
        if self._reducer is not None:
            pending = self._reducer.begin(self(out_TF, out=self._reducer.buffer(len(x_TD))))
            yield
            return pending.wait()
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
class FusedBlock:
    """A transformer block's weights, fused."""

    wqkv: FusedLinear
    wo: FusedLinear
    w13: FusedLinear
    w2: FusedLinear
    attention_norm: nn.RMSNorm
    ffn_norm: nn.RMSNorm
    queries: int
    """Query heads."""
    groups: int
    """Key and value heads."""
    width: int
    """Width of a head."""

    @classmethod
    def of(
        cls, block: TransformerBlock, *, fp8: bool = False, reducer: Reducer | None = None
    ) -> "FusedBlock":
        attention, feed_forward = block.attention, block.feed_forward
        width = attention.head_dim
        queries, groups = len(attention.wq.weight) // width, len(attention.wk.weight) // width
        wqkv = FusedLinear(attention.wq.weight, attention.wk.weight, attention.wv.weight, fp8=fp8)
        return cls(
            wqkv=wqkv,
            wo=FusedLinear(attention.wo.weight, fp8=fp8, reducer=reducer),
            w13=FusedLinear(feed_forward.w1.weight, feed_forward.w3.weight, fp8=fp8),
            w2=FusedLinear(feed_forward.w2.weight, fp8=fp8, reducer=reducer),
            attention_norm=block.attention_norm,
            ffn_norm=block.ffn_norm,
            queries=queries,
            groups=groups,
            width=width,
        )

    def __call__(self, x_TD: Tensor, addends: Addends, attend: FusedAttentionFn) -> Pausing[Addends]:
        """The block, in place. `addends` are still to be added to x_TD before it, those returned after it."""
        fp8 = self.wqkv.fp8
        out_TX = attend(self.wqkv(normalize(self.attention_norm, x_TD, addends, fp8)))
        addends = yield from self.wo.add_to(x_TD, quantize(out_TX) if fp8 else out_TX)
        return (yield from self.feed(x_TD, addends))

    def feed(self, x_TD: Tensor, addends: Addends) -> Pausing[Addends]:
        """The feed-forward half."""
        fp8 = self.wqkv.fp8
        gate_up_TF = self.w13(normalize(self.ffn_norm, x_TD, addends, fp8))
        return (yield from self.w2.add_to(x_TD, swiglu(gate_up_TF, quantize=fp8)))


def normalize(module: nn.RMSNorm, x_TD: Tensor, addends: Addends, fp8: bool = False) -> Tensor | Quantized:
    """Adds the addends to x_TD in place; returns its norm."""
    assert module.eps is not None
    return rms_norm(x_TD, module.weight, module.eps, add=addends, quantize=fp8)


class FusedVisionEncoder:
    """Images to features."""

    def __init__(self, model: Pixtral, *, fp8: bool) -> None:
        self._model = model
        self._layers = [FusedBlock.of(block, fp8=fp8) for block in model.vision_encoder.transformer.layers]  # type: ignore[arg-type]  # a ModuleList of them

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """Normalised images (3, H, W), sides on the patch grid -> (P, D), image after image."""
        x_PD, rotation_P2H, lengths = self._model.vision_encoder.embed(images)
        segments = Segments.of(lengths, lengths, causal=False, device=x_PD.device)
        addends: Addends = ()
        for layer in self._layers:
            heads, width = layer.queries, layer.width

            def attend(qkv_PX: Tensor, heads: int = heads, width: int = width) -> Tensor:
                rope(qkv_PX, rotation_P2H, 2 * heads)
                q_PNH, k_PNH, v_PNH = qkv_PX.unflatten(1, (3, heads, width)).unbind(1)
                return packed_attention(q_PNH, k_PNH, v_PNH, segments).flatten(1)

            [addends] = interleave(layer(x_PD, addends, attend))
        for part_PD in addends:
            x_PD += part_PD
        features_PD: Tensor = self._model.vision_language_adapter(x_PD)
        return features_PD


class FusedModel:
    """A model whose weights are fused. It is made before the cache: FP8 weights leave more memory for it."""

    def __init__(self, model: Pixtral, *, fp8: bool, reducer: Reducer | None = None) -> None:
        """`reducer` sums the partial products of the ranks that share the model; None: the model is whole."""
        self.model = model
        self.reducer = reducer
        self.encode = FusedVisionEncoder(model, fp8=fp8)
        self.layers = [
            FusedBlock.of(block, fp8=fp8, reducer=reducer)  # type: ignore[arg-type]  # a ModuleList of them
            for block in model.layers
        ]
        if model.norm.weight.is_cuda:
            torch.cuda.empty_cache()  # the memory of the separate weights becomes free for the cache
