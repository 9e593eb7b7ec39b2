"""How the ranks' partial products of a layer become the sum that the next norm adds to the residual stream.

In: one rank's partial product. Out: the addends of the residual stream, which the next norm reads anyway.
There are three ways. On any devices, an all-reduce (NCCL, gloo) sums the parts: there is one addend. On two
GPUs that can read each other's memory, each rank reads the other's part over their link: the addends are both
parts. On more such GPUs, one kernel of torch's reads and writes the memory of all: there is one addend. That
kernel is for short sums, of steps that decode; NCCL takes the long ones, of prompts.

A step can be computed as two micro-batches, so that one's matrix products hide the other's exchange. There
the second way pays most: a copy engine fetches the other rank's part and takes no multiprocessor from the
products. NCCL's kernels made the products slower by as much time as they hid.

The second and the third way go through torch's symmetric memory: each rank's memory is mapped into the other
ranks' processes. NVLink's multicast, which symmetric memory can use as well, stays off.

Shapes: T tokens, D width.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
import torch.distributed._symmetric_memory as symmetric_memory
from torch import Tensor

from model.collectives.world import World
from model.network.pixtral import AllReduce, AsyncWork

logger = logging.getLogger(__name__)

_BUFFERS = 4

TWO_SHOT_BYTES = 10 << 20
"""The longest sum that `TwoShotReducer` computes faster than NCCL, of one rank's part. On four H200s, 10 MiB
took 61 us, and with NCCL 73; 20 MiB took 113 and 114; 0.16 MiB took 11 and 43 (2026-11-28)."""
_TWO_SHOT_DTYPES = (torch.bfloat16, torch.float32)

T = TypeVar("T")

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


@dataclass(frozen=True)
class _TwoShotSum:
    sum_TD: Tensor

    def wait(self) -> Addends:
        return (self.sum_TD,)  # its kernel is in the stream of the products


class TwoShotReducer:
    """For any number of GPUs that read and write each other's memory; meant for more than two.

    One kernel computes a short sum, in place: it waits until all ranks have written their parts, adds up this
    rank's share of the elements and writes them into all ranks' memory, and waits until all have done so. So
    all ranks have the same bits, and one buffer is enough: behind the kernel no other rank reads or writes
    it. In bfloat16 each addition is rounded, in the order of the ranks; NCCL rounds each one too, in an order
    of its own.

    The kernels of two such sums must not run at the same time, since they would take each other's signals. So
    two micro-batches are summed up by NCCL, whose sums they hide, and so are long sums.
    """

    def __init__(self, own_TD: Tensor, collective: Reducer) -> None:
        """All ranks must call it, with as many rows. RuntimeError where they cannot reach one's memory."""
        self._own_TD = own_TD
        everyone = dist.group.WORLD
        assert everyone is not None, "the ranks have met"
        symmetric_memory.rendezvous(own_TD, everyone)  # once: torch finds it again by the memory's address
        self._group = everyone.group_name
        self._collective = collective
        self._overlapped = False

    def start_step(self, *, overlapped: bool) -> None:
        self._overlapped = overlapped

    def buffer(self, rows: int) -> Tensor | None:
        return self._own_TD[:rows] if self._is_short(rows) else None

    def begin(self, part_TD: Tensor) -> PendingSum:
        if not self._is_short(len(part_TD)):
            return self._collective.begin(part_TD)
        torch.ops.symm_mem.two_shot_all_reduce_(part_TD, "sum", self._group)
        return _TwoShotSum(part_TD)

    def _is_short(self, rows: int) -> bool:
        return not self._overlapped and rows <= len(self._own_TD)


def make_reducer(world: World, rows: int, like_D: Tensor) -> Reducer:
    """For parts of up to `rows` rows as wide as `like_D`; all ranks must call it."""
    collective = CollectiveReducer(world.all_reduce)
    if not like_D.is_cuda:
        return collective
    if world.size == 2:
        return peer_reducer(world, rows, like_D) or collective
    return two_shot_reducer(world, rows, like_D) or collective


def peer_reducer(world: World, rows: int, like_D: Tensor) -> PeerReducer | None:
    """None, and a warning, where the two ranks cannot read each other's memory; both must call it."""
    own_4TD = _mapped(world, (_BUFFERS, rows, len(like_D)), like_D)
    return None if own_4TD is None else _on_all(world, lambda: PeerReducer(world.rank, own_4TD))


def two_shot_reducer(
    world: World, rows: int, like_D: Tensor, longest: int = TWO_SHOT_BYTES
) -> TwoShotReducer | None:
    """None, and a warning, where the ranks cannot reach each other's memory; all must call it.

    None without one, too, for numbers that the kernel does not know. Parts of more than `longest` bytes are
    summed up by NCCL.
    """
    if like_D.dtype not in _TWO_SHOT_DTYPES:
        return None
    rows = min(rows, longest // (len(like_D) * like_D.itemsize))
    own_TD = _mapped(world, (rows, len(like_D)), like_D)
    collective = CollectiveReducer(world.all_reduce)
    return None if own_TD is None else _on_all(world, lambda: TwoShotReducer(own_TD, collective))


def _mapped(world: World, shape: tuple[int, ...], like: Tensor) -> Tensor | None:
    """Memory that can be mapped into the other ranks' processes."""
    # Each rank may see its own GPU alone, as under Ray: then all GPUs have the same number.
    os.environ.setdefault("TORCH_SYMM_MEM_ALLOW_OVERLAPPING_DEVICES", "1")
    os.environ["TORCH_SYMM_MEM_DISABLE_MULTICAST"] = "1"
    return _on_all(world, lambda: symmetric_memory.empty(shape, dtype=like.dtype, device=like.device))


def _on_all(world: World, make: Callable[[], T]) -> T | None:
    """What `make` makes, if it does on all ranks. Each must know of all before it meets them again."""
    made, reason = None, None
    try:
        made = make()
    except RuntimeError as error:
        reason = (str(error).splitlines() or ["no reason is given"])[0]
    reasons = [one for one in world.all_texts(reason) if one is not None]
    if reasons and world.rank == 0:
        logger.warning("the GPUs cannot read each other's memory (%s): NCCL sums up instead", reasons[0])
    return None if reasons else made
