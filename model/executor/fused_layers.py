"""The network's layers as a GPU computes them best: fused weights, and one kernel between two products.

In: a block's inputs, or images. Out: its outputs, or features. They equal `TransformerBlock` and
`Pixtral.encode_images`, which are the reference. The model's parameters become views of the fused weights, so
that nothing is stored twice.

Shapes: T tokens, P patches, D width, N query heads, G key and value heads, H head width, F width inside the
feed-forward, X width of a fused product.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.collectives.all_reduce import Reducer
from model.collectives.world import World
from model.executor.fused_linear import FusedLinear
from model.executor.residual import Pausing, Residual, SplitResidual, WholeResidual, interleave
from model.kernels.elementwise import quantize, rope, swiglu
from model.network.layers import Segments, TransformerBlock, packed_attention
from model.network.pixtral import Pixtral

FusedAttentionFn = Callable[[Tensor], Tensor]
"""From a layer's fused queries, keys and values (T, X) to the attention output (T, N * H)."""


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
    def of(cls, block: TransformerBlock, *, fp8: bool = False) -> "FusedBlock":
        attention, feed_forward = block.attention, block.feed_forward
        width = attention.head_dim
        queries, groups = len(attention.wq.weight) // width, len(attention.wk.weight) // width
        wqkv = FusedLinear(attention.wq.weight, attention.wk.weight, attention.wv.weight, fp8=fp8)
        return cls(
            wqkv=wqkv,
            wo=FusedLinear(attention.wo.weight, fp8=fp8),
            w13=FusedLinear(feed_forward.w1.weight, feed_forward.w3.weight, fp8=fp8),
            w2=FusedLinear(feed_forward.w2.weight, fp8=fp8),
            attention_norm=block.attention_norm,
            ffn_norm=block.ffn_norm,
            queries=queries,
            groups=groups,
            width=width,
        )

    def __call__(self, stream: Residual, attend: FusedAttentionFn) -> Pausing[None]:
        """Adds the block's two halves to the stream."""
        fp8 = self.wqkv.fp8
        h_TD = yield from stream.normed(self.attention_norm, fp8=fp8)
        out_TX = attend(self.wqkv(h_TD))
        yield from stream.add(self.wo, quantize(out_TX) if fp8 else out_TX)
        yield from self.feed(stream)

    def feed(self, stream: Residual) -> Pausing[None]:
        """The feed-forward half."""
        fp8 = self.wqkv.fp8
        h_TD = yield from stream.normed(self.ffn_norm, fp8=fp8)
        yield from stream.add(self.w2, swiglu(self.w13(h_TD), quantize=fp8))


class FusedVisionEncoder:
    """Images to features."""

    def __init__(self, model: Pixtral, *, fp8: bool) -> None:
        self._model = model
        self._layers = [FusedBlock.of(block, fp8=fp8) for block in model.vision_encoder.transformer.layers]  # type: ignore[arg-type]  # a ModuleList of them

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """Normalised images (3, H, W), sides on the patch grid -> (P, D), image after image."""
        x_PD, rotation_P2H, lengths = self._model.vision_encoder.embed(images)
        segments = Segments.of(lengths, lengths, causal=False, device=x_PD.device)
        stream = WholeResidual(x_PD, None)
        for layer in self._layers:
            heads, width = layer.queries, layer.width

            def attend(qkv_PX: Tensor, heads: int = heads, width: int = width) -> Tensor:
                rope(qkv_PX, rotation_P2H, 2 * heads)
                q_PNH, k_PNH, v_PNH = qkv_PX.unflatten(1, (3, heads, width)).unbind(1)
                return packed_attention(q_PNH, k_PNH, v_PNH, segments).flatten(1)

            interleave(layer(stream, attend))
        features_PD: Tensor = self._model.vision_language_adapter(stream.added())
        return features_PD


class FusedModel:
    """A model whose weights are fused. It is made before the cache: FP8 weights leave more memory for it."""

    def __init__(
        self, model: Pixtral, *, fp8: bool, reducer: Reducer | None = None, world: World | None = None
    ) -> None:
        """`reducer` sums the partial products of the ranks of `world`; None, both: the model is whole."""
        self.model = model
        self._reducer, self._world = reducer, world
        self.encode = FusedVisionEncoder(model, fp8=fp8)
        self.layers = [
            FusedBlock.of(block, fp8=fp8)  # type: ignore[arg-type]  # a ModuleList of them
            for block in model.layers
        ]
        if model.norm.weight.is_cuda:
            torch.cuda.empty_cache()  # the memory of the separate weights becomes free for the cache

    @property
    def is_shared(self) -> bool:
        """Whether it is one rank's part."""
        return self._reducer is not None

    def start_step(self, *, overlapped: bool) -> None:
        """A step begins. `overlapped`: as two micro-batches, whose products hide each other's exchanges."""
        if self._reducer is not None:
            self._reducer.start_step(overlapped=overlapped)

    def residual(self, x_TD: Tensor, *, split: bool) -> Residual:
        """The stream of embedded tokens, whole, or split among the ranks."""
        if not split:
            return WholeResidual(x_TD, self._reducer)
        assert self._world is not None, "nobody shares the model"
        assert self._reducer is not None, "nobody shares the model"
        return SplitResidual(x_TD, self._world, self._reducer)
