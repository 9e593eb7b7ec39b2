"""Pixtral: token ids and images in, logits out.

Sequences are packed behind one another, without a batch dimension. Parameters have the names of Mistral's
consolidated.safetensors. No sampling, no batching policy and no tokenizer here.

Shapes: T tokens of all sequences, P patches of all images, D width, R rows whose logits are wanted,
V vocabulary.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from model.cache.contiguous_cache import ContiguousCache, extend
from model.config import PixtralConfig
from model.network.layers import Segments, TransformerBlock, frequencies, packed_attention, rotation
from model.network.vision import VisionEncoder, VisionLanguageAdapter
from model.transfer import send


class AsyncWork(Protocol):
    """A collective under way."""

    def wait(self) -> object:
        """Operations that are launched after this call see the result."""


AllReduce = Callable[[Tensor], AsyncWork]
"""Begins to sum the ranks' partial results, in place."""

LayerAttention = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""An `AttentionFn` for each layer: its first argument is the layer's index."""


class _Uninitialised(TorchFunctionMode):
    """Makes modules without initial values. On the meta device, torch would load its compiler for a normal
    distribution alone, and that takes longer than everything else until a small model answers."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(function, "__module__", "") == "torch.nn.init":
            return (*args, *(kwargs or {}).values())[0]
        return function(*args, **(kwargs or {}))


class Pixtral(nn.Module):
    """The whole model: vision encoder, adapter, decoder."""

    def __init__(self, config: PixtralConfig) -> None:
        super().__init__()
        self.config = config
        self.all_reduce: AllReduce | None = None
        """Sums the parts of the embeddings, if this model is one rank's shard. None: it is whole."""
        self.vision_encoder = VisionEncoder(config.vision)
        self.vision_language_adapter = VisionLanguageAdapter(config.vision.hidden_size, config.dim)
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(
            TransformerBlock(
                dim=config.dim,
                n_heads=config.n_heads,
                n_kv_heads=config.n_kv_heads,
                head_dim=config.head_dim,
                hidden_dim=config.hidden_dim,
                norm_eps=config.norm_eps,
            )
            for _ in range(config.n_layers)
        )
        self.norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)

    @classmethod
    def on_meta(cls, config: PixtralConfig) -> Self:
        """The modules and the shapes of their tensors, without memory: on torch's meta device."""
        with _Uninitialised(), torch.device("meta"):
            return cls(config)

    def encode_images(self, images: Sequence[Tensor]) -> Tensor:
        """Normalised images (3, H, W), sides on the patch grid -> (P, D), image after image."""
        features_PD: Tensor = self.vision_language_adapter(self.vision_encoder(images))
        return features_PD

    def embed(self, ids_T: Tensor, image_features_PD: Tensor | None) -> Tensor:
        """(T, D): embeddings, with each image token's row replaced by the next patch.

        ValueError when there are not as many image tokens as patches.
        """
        x_TD = self.embed_packed(ids_T)
        is_patch_T = ids_T == self.config.vision.image_token_id
        expected = int(is_patch_T.sum())
        patches = 0 if image_features_PD is None else len(image_features_PD)
        if expected != patches:
            raise ValueError(
                f"{expected} image tokens for {patches} patches: "
                "write one image token for each patch of each image, and pass the images in that order"
            )
        if image_features_PD is None:
            return x_TD
        return x_TD.masked_scatter(is_patch_T[:, None], image_features_PD.to(x_TD.dtype))

    def embed_packed(self, ids_T: Tensor, patches: Sequence[tuple[NDArray[np.int64], Tensor]] = ()) -> Tensor:
        """(T, D): embeddings, in which features (P, D) replace the rows at each image's positions.

        Unlike `embed`, it does not look for image tokens: one outside a prefix is text, and a chunk may hold
        a part of an image. If several ranks share the model, rank 0 alone is given the patches. All ranks are
        given the id -1 in their place, which embeds to zeros.
        """
        x_TD: Tensor = self.tok_embeddings(ids_T)
        for positions, features_PD in patches:
            x_TD.index_copy_(0, send(torch.from_numpy(positions), x_TD.device), features_PD.to(x_TD.dtype))
        if self.all_reduce is not None:
            self.all_reduce(x_TD).wait()
        return x_TD

    def forward(
        self,
        x_TD: Tensor,
        lengths: Sequence[int],
        cache: Sequence[ContiguousCache] | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Logits (R, V) of packed causal sequences of `lengths` tokens.

        With caches, one for each sequence, a sequence continues its cache, which grows by these tokens.
        `rows` picks the positions whose logits are wanted; without it, all are.
        """
        assert sum(lengths) == len(x_TD), (lengths, x_TD.shape)
        assert cache is None or len(cache) == len(lengths), (lengths, cache)
        past = [0] * len(lengths) if cache is None else [one.length for one in cache]
        totals = [before + new for before, new in zip(past, lengths, strict=True)]
        segments = Segments.of(lengths, totals, causal=True, device=x_TD.device)
        spans = [torch.arange(*span) for span in zip(past, totals, strict=True)]
        rotation_T2P = self.rotation(torch.cat(spans).to(x_TD.device, non_blocking=True), x_TD)
        for index, layer in enumerate(self.layers):

            def attend(q_TNH: Tensor, k_TGH: Tensor, v_TGH: Tensor, index: int = index) -> Tensor:
                if cache is not None:
                    k_TGH, v_TGH = extend(cache, lengths, index, k_TGH, v_TGH)
                return packed_attention(q_TNH, k_TGH, v_TGH, segments)

            x_TD = layer(x_TD, rotation_T2P, attend)
        for one, new in zip(cache or (), lengths, strict=False):
            one.length += new
        if rows is not None:
            x_TD = x_TD[rows]
        logits_RV: Tensor = self.output(self.norm(x_TD))
        return logits_RV

    def step(
        self, x_TD: Tensor, positions_T: Tensor, attend: LayerAttention, rows_R: Tensor | None = None
    ) -> Tensor:
        """Logits (R, V) of the rows `rows_R`, all without it, of tokens at any positions of any sequences.

        `attend` is given each layer's index, queries, new keys and values, and keeps those of the cache.
        In the last layer it has the queries of `rows_R` alone, but the keys and values of all tokens.
        """
        rotation_T2P = self.rotation(positions_T, x_TD)
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            x_TD = layer(x_TD, rotation_T2P, partial(attend, index), rows_R if index == last else None)
        logits_RV: Tensor = self.output(self.norm(x_TD))
        return logits_RV

    def rotation(self, positions_T: Tensor, like: Tensor) -> Tensor:
        """RoPE table of the tokens' positions in their sequences, in float32 or better."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        step_P = frequencies(self.config.head_dim, self.config.rope_theta, dtype, like.device)
        return rotation(torch.outer(positions_T.to(dtype), step_P))
