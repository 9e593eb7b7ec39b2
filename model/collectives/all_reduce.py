"""How the partial products of ranks that share a model become sums.

In: what each rank has computed. Out: what the next norm adds to the residual stream, which it reads anyway:
the sum that a collective gave, or, on two GPUs, both parts. There each rank reads the other's memory over
their link. A sum that hides behind products takes no multiprocessor from them, since a copy engine fetches
the other's part; NCCL's kernels made the products slower by what they hid.

Shapes: T tokens, D width.
"""

import logging
import os
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
import torch.distributed._symmetric_memory as symmetric_memory
from torch import Tensor

from model.collectives.world import World
from model.network.pixtral import AllReduce, AsyncWork

logger = logging.getLogger(__name__)

_PLACES = 4

Late = tuple[Tensor, ...]
"""What has still to be added to the residual stream (T, D): nothing, a sum, or the parts of one."""


class Coming(Protocol):
    """A sum on its way."""

    def wait(self) -> Late:
        """What is to be added; what is launched from here on may read it."""


class Sums(Protocol):
    """The sums of a step, one after the other."""

    def restart(self, *, hidden: bool) -> None:
        """A step begins, whose sums are `hidden` behind the other half's products or not."""

    def place(self, rows: int) -> Tensor | None:
        """Where this rank's part (T, D) of the next sum has to be; None: anywhere."""

    def begin(self, part_TD: Tensor) -> Coming:
        """The next sum, of which this is the rank's part, in its place."""


@dataclass(frozen=True)
class _Reduced:
    part_TD: Tensor
    pending: AsyncWork

    def wait(self) -> Late:
        self.pending.wait()
        return (self.part_TD,)


class Collective:
    """Sums of any number of ranks, on any device: by an all-reduce in place."""

    def __init__(self, reduce: AllReduce) -> None:
        self._reduce = reduce

    def restart(self, *, hidden: bool) -> None:
        """Nothing to do."""

    def place(self, rows: int) -> None:
        """Anywhere."""

    def begin(self, part_TD: Tensor) -> _Reduced:
        return _Reduced(part_TD, self._reduce(part_TD))


@dataclass(frozen=True)
class _Read:
    parts: Late
    arrived: torch.cuda.Event | None

    def wait(self) -> Late:
        if self.arrived is not None:
            self.arrived.wait()
        return self.parts


class Pair:
    """Sums of two GPUs, of which each reads the other's parts.

    A place is taken again four sums later, when the other rank has read it: a half of a step writes its part
    only after the other rank has signalled that half's sum before, which that rank computes after it has read
    the one before that; and between two sums of a half lies at most one of the other's. A step begins anew
    after the sum of the embeddings, to which no rank comes before it has finished the step before.
    """

    def __init__(self, rank: int, own_4TD: Tensor) -> None:
        """Both ranks must call it. RuntimeError where they cannot read each other's memory."""
        self._own_4TD = own_4TD
        everyone = dist.group.WORLD
        assert everyone is not None, "the ranks have met"
        self._handle = symmetric_memory.rendezvous(own_4TD, everyone)
        self._other = 1 - rank
        self._other_4TD = self._handle.get_buffer(self._other, list(own_4TD.shape), own_4TD.dtype)
        # What waits for a signal is one block, which shall not queue behind those of a product.
        self._stream = torch.cuda.Stream(priority=-1)
        self._next, self._hidden = 0, False

    def restart(self, *, hidden: bool) -> None:
        self._next, self._hidden = 0, hidden

    def place(self, rows: int) -> Tensor:
        return self._own_4TD[self._next, :rows]

    def begin(self, part_TD: Tensor) -> _Read:
        place, self._next = self._next, (self._next + 1) % _PLACES
        other_TD = self._other_4TD[place, : len(part_TD)]
        self._handle.put_signal(self._other, place)
        if not self._hidden:
            self._handle.wait_signal(self._other, place)
            return _Read((part_TD, other_TD), None)
        fetched_TD = torch.empty_like(part_TD)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._handle.wait_signal(self._other, place)
            fetched_TD.copy_(other_TD)
            arrived = torch.cuda.Event()
            arrived.record()
        return _Read((part_TD, fetched_TD), arrived)


def make_sums(world: World, rows: int, like_D: Tensor) -> Sums:
    """For parts of up to `rows` rows as wide as `like_D`; all ranks must call it."""
    collective = Collective(world.sum)
    if world.size != 2 or not like_D.is_cuda:
        return collective
    # Each rank may see its own GPU alone, as under Ray: then both have the same number.
    os.environ.setdefault("TORCH_SYMM_MEM_ALLOW_OVERLAPPING_DEVICES", "1")
    shape = (_PLACES, rows, len(like_D))
    pair = None
    try:
        own_4TD = symmetric_memory.empty(shape, dtype=like_D.dtype, device=like_D.device)
        pair = Pair(world.rank, own_4TD)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        logger.warning("the GPUs cannot read each other's memory (%s): NCCL sums up instead", reason)
    both = world.least(int(pair is not None))
    return pair if pair is not None and both else collective
