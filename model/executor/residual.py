"""The residual stream of one step's tokens: what blocks add to it, and the norms that they read.

In: embedded tokens. Out: the norm of the stream, again and again, while products are added. If ranks share
the model, a product is a part of a sum, and there are two ways to have the stream.

- `WholeResidual`: each rank has the stream of all tokens. The parts are summed up for all (`all_reduce`), and
  each rank computes the norm of all tokens.
- `SplitResidual`: each rank has the stream of a share of the tokens. The sums of its tokens alone are made
  for it (reduce-scatter), it computes their norm, and the ranks give one another their norms (all-gather). As
  many bytes travel as in the first way, and each norm is computed once, not by every rank. If the next
  product is in FP8, the norms travel in FP8, with a scale for each token: a quarter fewer bytes.

The ways differ in the order in which a sum's parts are added, and so in rounding: NCCL's reduce-scatter and
its all-reduce round at each addition, each in an order of its own. Norms and their FP8 numbers are computed
token by token, the same in both ways.

The functions are generators: they yield while the ranks exchange, and `interleave` computes another
micro-batch in the meantime, if there is one.

Shapes: T tokens, R rows of them, D width, F width of a product's input, S tokens of a rank's share.
"""

from collections.abc import Generator
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from model.collectives.all_reduce import Addends, Reducer
from model.collectives.world import World
from model.executor.fused_linear import FusedLinear
from model.kernels.elementwise import FP8, Quantized, rms_norm

T = TypeVar("T")
Pausing = Generator[None, None, T]
"""A computation that yields whenever it waits for the other ranks."""


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


class Residual(Protocol):
    """The stream of T tokens."""

    def normed(self, norm: nn.RMSNorm, *, fp8: bool = False) -> Pausing[Tensor | Quantized]:
        """The norm (T, D) of all tokens, with all that was added."""

    def add(self, linear: FusedLinear, x_TF: Tensor | Quantized) -> Pausing[None]:
        """Adds the product; if ranks share the model, the sum of their products."""

    def whole(self, rows_R: Tensor | None) -> "WholeResidual":
        """The stream of these rows, or of all tokens, on every rank. To be called right behind `normed`."""


class WholeResidual:
    """The stream of all tokens, on each rank."""

    def __init__(self, x_TD: Tensor, reducer: Reducer | None) -> None:
        """In place: x_TD is lost. `reducer`: of the ranks that share the model; None: nobody does."""
        self.x_TD = x_TD
        self._reducer = reducer
        self._addends: Addends = ()

    def normed(self, norm: nn.RMSNorm, *, fp8: bool = False) -> Pausing[Tensor | Quantized]:
        yield from ()
        addends, self._addends = self._addends, ()
        return normalize(norm, self.x_TD, addends, fp8)

    def add(self, linear: FusedLinear, x_TF: Tensor | Quantized) -> Pausing[None]:
        assert not self._addends, "the norm adds them first"
        if self._reducer is not None:
            pending = self._reducer.begin(linear(x_TF, out=self._reducer.buffer(len(self.x_TD))))
            yield
            self._addends = pending.wait()
        elif linear.fp8:
            self._addends = (linear(x_TF),)
        else:
            assert isinstance(x_TF, Tensor), "an FP8 input needs FP8 weights"
            linear.add_to(self.x_TD, x_TF)

    def whole(self, rows_R: Tensor | None) -> "WholeResidual":
        assert not self._addends, "the norm adds them first"
        return self if rows_R is None else WholeResidual(self.x_TD[rows_R], self._reducer)

    def added(self) -> Tensor:
        """The stream (T, D), with all that was added."""
        for addend_TD in self._addends:
            self.x_TD += addend_TD
        self._addends = ()
        return self.x_TD


class SplitResidual:
    """On each rank, the stream of its share of the tokens. Shares are equal: the last ones may be padded."""

    def __init__(self, x_TD: Tensor, world: World, reducer: Reducer) -> None:
        """x_TD are all tokens; `reducer` is for the stream of some rows, once it is whole."""
        self._world, self._reducer = world, reducer
        self._tokens, width = x_TD.shape
        share = -(-self._tokens // world.size)
        self._first = world.rank * share
        own_SD = x_TD[self._first : self._first + share]
        self._x_SD = x_TD.new_zeros(share, width)
        self._x_SD[: len(own_SD)] = own_SD
        self._addends: Addends = ()

    def normed(self, norm: nn.RMSNorm, *, fp8: bool = False) -> Pausing[Tensor | Quantized]:
        addends, self._addends = self._addends, ()
        own = normalize(norm, self._x_SD, addends, fp8)
        if isinstance(own, Tensor):
            gathered = self._world.start_gather(own)
            yield
            return gathered.wait()[: self._tokens]
        # torch moves no FP8, but its bytes.
        values, scales = (self._world.start_gather(one) for one in (own.values.view(torch.uint8), own.scales))
        yield
        return Quantized(values.wait()[: self._tokens].view(FP8), scales.wait()[: self._tokens])

    def add(self, linear: FusedLinear, x_TF: Tensor | Quantized) -> Pausing[None]:
        assert not self._addends, "the norm adds them first"
        share, width = self._x_SD.shape
        part_TD = self._x_SD.new_empty(share * self._world.size, width)
        linear(x_TF, out=part_TD[: self._tokens])
        part_TD[self._tokens :] = 0.0
        pending = self._world.start_reduce_scatter(part_TD)
        yield
        self._addends = (pending.wait(),)

    def whole(self, rows_R: Tensor | None) -> WholeResidual:
        assert not self._addends, "the norm adds them first"
        if rows_R is None:
            rows_R = torch.arange(self._tokens, device=self._x_SD.device)
        own_R = rows_R - self._first
        elsewhere_R1 = ((own_R < 0) | (own_R >= len(self._x_SD)))[:, None]
        x_RD = self._x_SD[own_R.clamp(0, len(self._x_SD) - 1)].masked_fill_(elsewhere_R1, 0.0)
        if len(x_RD):
            self._world.all_reduce(x_RD).wait()  # the rows of one rank, and zeros of the others
        return WholeResidual(x_RD, self._reducer)


def normalize(module: nn.RMSNorm, x_TD: Tensor, addends: Addends, fp8: bool = False) -> Tensor | Quantized:
    """Adds the addends to x_TD in place; returns its norm."""
    assert module.eps is not None
    return rms_norm(x_TD, module.weight, module.eps, add=addends, quantize=fp8)
