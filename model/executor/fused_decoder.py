"""The decoder's layers as a GPU computes them, over one paged cache.

In: embedded tokens and a step's inputs. Out: logits of the rows that sample. Long chunks go through
FlashAttention: over their own keys and values if all of them begin a sequence in this step, else over keys
and values gathered from the cache. Short chunks go through `split_attention`, which reads the cache in place.
The last layer computes only keys and values for all tokens, and everything else for the rows that sample.

Nothing here waits for the device.

Shapes: T tokens, R rows that sample, D width, N query heads, G key and value heads, H head width, X width of
fused queries, keys and values, S tokens whose keys are gathered, V vocabulary, K tokens that only the device
knows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.cache.batch import Batch
from model.cache.paged_cache import CacheLayer, PagedCache
from model.executor.attention_inputs import StepInputs, segments_of
from model.executor.fused_layers import FusedBlock, FusedModel
from model.executor.residual import Pausing, Residual, WholeResidual
from model.kernels.elementwise import gather_kv, quantize, rope, rope_and_store
from model.kernels.split_attention import split_attention
from model.network.layers import Segments, packed_attention
from model.transfer import send


class FusedDecoder:
    """A fused model's decoder, with the cache that it writes and reads."""

    def __init__(self, fused: FusedModel, cache: PagedCache) -> None:
        self.device = cache.k_LCSGH.device
        self.block_size = cache.size
        self.model = fused.model
        self._fused = fused
        self._layers = fused.layers
        self._cache = [cache.layer(index) for index in range(len(self._layers))]
        self._split = False

    def start_step(self, *, overlapped: bool = False, split: bool = False) -> None:
        """To be called before the first `forward` of a step. `overlapped`: the step is two micro-batches.
        `split`: the ranks share out the tokens' residual stream."""
        self._fused.start_step(overlapped=overlapped)
        self._split = split

    def embed(self, ids_T: Tensor, batch: Batch) -> Tensor:
        """(T, D): embeddings, also of tokens that only the device knows yet, and patches in their places."""
        if len(batch.unknown_K2):
            assert batch.sampled_before is not None, batch.unknown_K2
            unknown_K2 = send(torch.from_numpy(batch.unknown_K2).long(), self.device)
            ids_T[unknown_K2[:, 0]] = batch.sampled_before[unknown_K2[:, 1]].to(ids_T.dtype)
        return self.model.embed_packed(ids_T, batch.patches)

    def forward(self, x_TD: Tensor, inputs: StepInputs[Tensor]) -> Pausing[Tensor]:
        """Logits (R, V) of embedded tokens. The layers compute in place: x_TD is lost."""
        rotation_T2P = self.model.rotation(inputs.positions_T, x_TD)
        parts = [] if inputs.long is None else segments_of(inputs.long)
        stream = self._fused.residual(x_TD, split=self._split)
        for layer, cache in zip(self._layers[:-1], self._cache[:-1], strict=True):

            def attend(qkv_TX: Tensor, layer: FusedBlock = layer, cache: CacheLayer = cache) -> Tensor:
                rope_and_store(qkv_TX, rotation_T2P, inputs.slots_T, cache, layer.queries)
                return self._attend(qkv_TX, layer, cache, inputs, parts)

            yield from layer(stream, attend)
        sampling = yield from self._last_layer(stream, rotation_T2P, inputs)
        logits_RV: Tensor = self.model.output((yield from sampling.normed(self.model.norm)))
        return logits_RV

    def _last_layer(
        self, stream: Residual, rotation_T2P: Tensor, inputs: StepInputs[Tensor]
    ) -> Pausing[WholeResidual]:
        """Keys and values of all tokens; everything else of the rows that sample, whose stream it returns."""
        layer, cache = self._layers[-1], self._cache[-1]
        queries = layer.queries * layer.width
        fp8 = layer.wqkv.fp8
        h_TD = yield from stream.normed(layer.attention_norm, fp8=fp8)
        kv_TX = layer.wqkv(h_TD, slice(queries, None))
        rope_and_store(kv_TX, rotation_T2P, inputs.slots_T, cache, 0)
        sampling = stream.whole(inputs.rows_R)
        if inputs.last is None:
            return sampling
        rotation_R2P = rotation_T2P
        if inputs.rows_R is not None:
            h_TD, rotation_R2P = h_TD[inputs.rows_R], rotation_T2P[inputs.rows_R]
        q_RX = layer.wqkv(h_TD, slice(queries))
        rope(q_RX, rotation_R2P, layer.queries)
        out_RNH = torch.zeros_like(q_RX).unflatten(1, (layer.queries, layer.width))
        q_RNH = q_RX.unflatten(1, (layer.queries, -1))
        split_attention(q_RNH, cache, inputs.last, self.block_size, out_RNH)
        out_RX = out_RNH.flatten(1)
        yield from sampling.add(layer.wo, quantize(out_RX) if fp8 else out_RX)
        yield from layer.feed(sampling)
        return sampling

    def _attend(
        self,
        qkv_TX: Tensor,
        layer: FusedBlock,
        cache: CacheLayer,
        inputs: StepInputs[Tensor],
        parts: Sequence[tuple[Segments, Tensor | None]],
    ) -> Tensor:
        heads = (layer.queries, layer.groups, layer.groups)
        q_TNH, k_TGH, v_TGH = qkv_TX.unflatten(1, (-1, layer.width)).split(heads, dim=1)
        out_TNH: Tensor
        if not parts:
            out_TNH = q_TNH.new_zeros(q_TNH.shape)  # a graph has tokens of no sequence
        elif len(parts) == 1:
            [(segments, slots_S)] = parts
            if slots_S is None:
                k_SGH, v_SGH = k_TGH[inputs.short_tokens :], v_TGH[inputs.short_tokens :]
            else:
                k_SGH, v_SGH = gather_kv(cache, slots_S, qkv_TX.dtype)
            out_TNH = packed_attention(q_TNH, k_SGH, v_SGH, segments)
        else:
            out_TNH = torch.empty_like(q_TNH)
            for segments, slots_S in parts:
                assert slots_S is not None, "what is gathered in parts has slots"
                rows = slice(segments.skipped, segments.skipped + sum(segments.lengths_q))
                k_SGH, v_SGH = gather_kv(cache, slots_S, qkv_TX.dtype)
                out_TNH[rows] = packed_attention(q_TNH[: rows.stop], k_SGH, v_SGH, segments)[rows]
        if inputs.short is not None:
            short = slice(inputs.short_tokens)
            split_attention(q_TNH[short], cache, inputs.short, self.block_size, out_TNH[short])
        return out_TNH.flatten(1)
