"""How the ranks' partial products of a layer become the sum that the next norm adds to the residual stream.

In: one rank's partial product. Out: the addends of the residual stream, which the next norm reads anyway.
There are two ways. On any devices, an all-reduce (NCCL, gloo) sums the parts: there is one addend. On two
GPUs that can read each other's memory, each rank reads the other's part over their link: the addends are both
parts.

A step can be computed as two micro-batches, so that one's matrix products hide the other's exchange. There
the second way pays most: a copy engine fetches the other rank's part and takes no multiprocessor from the
products. NCCL's kernels made the products slower by as much time as they hid.

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

_BUFFERS = 4

Addends = tuple[Tensor, ...]
"""The tensors (T, D) that have still to be added to the residual stream: none, a sum, or the parts of one."""


class PendingSum(Protocol):
    """A sum whose exchange is under way."""

    def wait(self) -> Addends:
        """The addends. Operations that are launched after this call may read them."""


class Reducer(Protocol):
    """The sums of one step, begun one after the other."""

    def start_step(self, *, overlapped: bool) -> None:
        """A step begins. `overlapped`: as two micro-batches, whose products hide each other's exchanges."""

    def buffer(self, rows: int) -> Tensor | None:
        """The memory (T, D) into which this rank's part of the next sum must be written; None: any memory."""

    def begin(self, part_TD: Tensor) -> PendingSum:
        """Begins the next sum, with this rank's part."""


@dataclass(frozen=True)
class _CollectiveSum:
    part_TD: Tensor
    work: AsyncWork

    def wait(self) -> Addends:
        self.work.wait()
        return (self.part_TD,)


class CollectiveReducer:
    """For any number of ranks, on any device: an all-reduce in place."""

    def __init__(self, all_reduce: AllReduce) -> None:
        self._all_reduce = all_reduce

    def start_step(self, *, overlapped: bool) -> None:
        """Nothing to do."""

    def buffer(self, rows: int) -> None:
        """Any memory."""

    def begin(self, part_TD: Tensor) -> _CollectiveSum:
        return _CollectiveSum(part_TD, self._all_reduce(part_TD))


@dataclass(frozen=True)
class _PeerSum:
    parts: Addends
    fetched: torch.cuda.Event | None

    def wait(self) -> Addends:
        if self.fetched is not None:
            self.fetched.wait()
        return self.parts


class PeerReducer:
    """For two GPUs: each reads the other's parts in its memory.

    A rank writes its parts into four buffers in turn. It must not overwrite a part that the other rank has
    yet to read, and no message says that a part has been read. Four buffers do without such a message.

    Example, with two micro-batches a and b, whose sums alternate: a1 b1 a2 b2 a3 use the buffers 0 1 2 3 0.
    Before this rank writes its part of a3 into buffer 0, it has waited for the other rank's signal of a2. The
    other rank gave that signal after it had computed its part of a2, for which it had read a1 in buffer 0.
    With one micro-batch there are two more sums between, and the same holds.

    Each step starts at the first buffer. It begins with the all-reduce of the embeddings, which no rank
    leaves before both ranks have finished the step before.
    """

    def __init__(self, rank: int, own_4TD: Tensor) -> None:
        """Both ranks must call it. RuntimeError where they cannot read each other's memory."""
        self._own_4TD = own_4TD
        everyone = dist.group.WORLD
        assert everyone is not None, "the ranks have met"
        self._handle = symmetric_memory.rendezvous(own_4TD, everyone)
        self._other = 1 - rank
        self._other_4TD = self._handle.get_buffer(self._other, list(own_4TD.shape), own_4TD.dtype)
        # The kernel that waits for a signal is one block. It must not queue behind the blocks of a product.
        self._stream = torch.cuda.Stream(priority=-1)
        self._next, self._overlapped = 0, False

    def start_step(self, *, overlapped: bool) -> None:
        self._next, self._overlapped = 0, overlapped

    def buffer(self, rows: int) -> Tensor:
        return self._own_4TD[self._next, :rows]

    def begin(self, part_TD: Tensor) -> _PeerSum:
        index, self._next = self._next, (self._next + 1) % _BUFFERS
        other_TD = self._other_4TD[index, : len(part_TD)]
        self._handle.put_signal(self._other, index)
        if not self._overlapped:
            self._handle.wait_signal(self._other, index)
            return _PeerSum((part_TD, other_TD), None)
        fetched_TD = torch.empty_like(part_TD)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._handle.wait_signal(self._other, index)
            fetched_TD.copy_(other_TD)
            fetched = torch.cuda.Event()
            fetched.record()
        return _PeerSum((part_TD, fetched_TD), fetched)


def make_reducer(world: World, rows: int, like_D: Tensor) -> Reducer:
    """For parts of up to `rows` rows as wide as `like_D`; all ranks must call it."""
    collective = CollectiveReducer(world.all_reduce)
    if world.size != 2 or not like_D.is_cuda:
        return collective
    # Each rank may see its own GPU alone, as under Ray: then both GPUs have the same number.
    os.environ.setdefault("TORCH_SYMM_MEM_ALLOW_OVERLAPPING_DEVICES", "1")
    shape = (_BUFFERS, rows, len(like_D))
    peer = None
    try:
        own_4TD = symmetric_memory.empty(shape, dtype=like_D.dtype, device=like_D.device)
        peer = PeerReducer(world.rank, own_4TD)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        logger.warning("the GPUs cannot read each other's memory (%s): NCCL sums up instead", reason)
    both = world.minimum(int(peer is not None))
    return peer if peer is not None and both else collective
