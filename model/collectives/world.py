"""The processes that share one model: how they find one another, and how they exchange tensors.

In: a rank and the address of rank 0. Out: a World. Through it the ranks sum and gather tensors on their
devices, and rank 0 sends the other ranks its commands. A process has one world as long as it lives: DeepSpeed
and NCCL keep state that a second world would find. This file knows nothing of models.

If a rank dies or hangs, the others notice it.

- On CPUs, gloo raises an error. A rank that exchanges tensors with a dead rank gets it at once. It must then
  end its own process: so the error reaches all ranks. A rank that hangs is noticed after `timeout`.
- On GPUs, NCCL's watchdog ends the process (SIGABRT) when a collective takes longer than `timeout`.

The watchdog does not see three cases: a collective inside a CUDA graph; a rank that waits for another's part
of a sum in its memory (`all_reduce.PeerReducer`, `TwoShotReducer`); and a rank 0 that hangs, for which the
others wait without a limit, since an idle rank 0 may be silent for hours. These are left to the process that
started the ranks. It must end all of them when one is gone or a step takes too long.
"""

import os
import socket
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

# How long a rank waits for a command. A rank 0 that dies closes the connection, which ends the wait at once.
_PATIENCE = timedelta(days=365)

# torch 2.13 has new names for them, and warns of the old ones.
_ALL_GATHER = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)
_REDUCE_SCATTER = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)


def free_address() -> str:
    """tcp://host:port that rank 0 can listen on, if it is on this machine, and that other machines reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it asks which interface leads to the outside
            host = probe.getsockname()[0]
        except OSError:
            host = "127.0.0.1"
    with socket.socket() as taken:
        taken.bind((host, 0))
        return f"tcp://{host}:{taken.getsockname()[1]}"


@dataclass(frozen=True)
class Pending:
    """A tensor that the ranks are making."""

    tensor: Tensor
    work: dist.Work

    def wait(self) -> Tensor:
        """The tensor. Operations that are launched after this call may read it."""
        self.work.wait()
        return self.tensor


@dataclass(frozen=True)
class World:
    """One rank's view of those that share a model."""

    rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup
    """Carries commands, from host to host: they wait for no device. Tensors go through the default group."""
    timeout: timedelta
    """Limit for a collective, and for the other ranks to take a command."""

    def broadcast_on_host(self, numbers: Tensor) -> None:
        """Rank 0's numbers into the other ranks' tensors, all on the host. The others wait without a limit.

        RuntimeError on rank 0 if they do not take the numbers within `timeout`. A rank that hangs takes no
        more than the buffer of its socket holds.
        """
        work: dist.Work | None = dist.broadcast(numbers, 0, group=self.control, async_op=True)
        assert work is not None, "every rank is in it"
        work.wait(_PATIENCE if self.rank else self.timeout)

    def all_reduce(self, part: Tensor) -> dist.Work:
        """Begins to sum the ranks' parts, in place. Can be captured in a CUDA graph."""
        work: dist.Work | None = dist.all_reduce(part, async_op=True)
        assert work is not None, "every rank is in the default group"
        return work

    def all_gather(self, part: Tensor) -> list[Tensor]:
        """All ranks' parts, of one shape, on every rank. Can be captured in a CUDA graph."""
        parts = list(part.new_empty(self.size, *part.shape))
        # Asynchronous: on NCCL's own stream, behind the all-reduces that are under way there.
        work: dist.Work | None = dist.all_gather(parts, part.contiguous(), async_op=True)
        assert work is not None, "every rank is in the default group"
        work.wait()
        return parts

    def start_gather(self, part: Tensor) -> Pending:
        """Begins to gather all ranks' parts (S, ...), of one shape, as (size * S, ...) on every rank."""
        whole = part.new_empty(len(part) * self.size, *part.shape[1:])
        work: dist.Work | None = _ALL_GATHER(whole, part, async_op=True)
        assert work is not None, "every rank is in the default group"
        return Pending(whole, work)

    def start_reduce_scatter(self, whole: Tensor) -> Pending:
        """Begins to sum the ranks' tensors (size * S, ...): each rank gets its rows (S, ...) of the sum."""
        rows = whole.new_empty(len(whole) // self.size, *whole.shape[1:])
        work: dist.Work | None = _REDUCE_SCATTER(rows, whole, async_op=True)
        assert work is not None, "every rank is in the default group"
        return Pending(rows, work)

    def broadcast(self, numbers: Tensor) -> None:
        """Rank 0's numbers into the other ranks' tensors, on the devices."""
        dist.broadcast(numbers, 0)

    def scatter(self, mine: Tensor, all_N: Tensor | None) -> Tensor:
        """Rank 0's `all_N` (size, ...) row by row into the ranks' `mine`, which it returns."""
        dist.scatter(mine, None if all_N is None else list(all_N), 0)
        return mine

    def gather(self, mine: Tensor) -> Tensor | None:
        """The ranks' tensors, of one shape, as (size, ...) on rank 0."""
        all_N = mine.new_empty(self.size, *mine.shape) if self.rank == 0 else None
        dist.gather(mine, None if all_N is None else list(all_N), 0)
        return all_N

    def barrier(self) -> None:
        """Waits for the other ranks without a limit, so also after work that takes longer than `timeout`."""
        dist.barrier(group=self.control)

    def minimum(self, number: int) -> int:
        """The smallest of the ranks' numbers."""
        lowest = torch.tensor(number)
        dist.all_reduce(lowest, dist.ReduceOp.MIN, group=self.control)
        return int(lowest)

    def all_texts(self, text: str | None) -> list[str | None]:
        """Each rank's text, in the order of the ranks."""
        texts: list[str | None] = [None] * self.size
        dist.all_gather_object(texts, text, group=self.control)
        return texts


def join(rank: int, size: int, address: str, device: torch.device, timeout: float) -> World:
    """Meets the other ranks at rank 0's address. `timeout` in seconds: for that, and for each collective."""
    limit = timedelta(seconds=timeout)
    on_gpu = device.type == "cuda"
    assert not on_gpu or device.index is not None, device
    if on_gpu:
        torch.cuda.set_device(device)
    # DeepSpeed would guess the device, with a warning.
    os.environ["DS_ACCELERATOR"] = device.type
    # Before it ends a process, the watchdog would spend up to 15 seconds on writing a report.
    os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "0")
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=address,
        rank=rank,
        world_size=size,
        timeout=limit,
        device_id=device if on_gpu else None,
    )
    control = dist.new_group(backend="gloo", timeout=_PATIENCE)
    assert isinstance(control, dist.ProcessGroup), "every rank is in it"
    return World(rank=rank, size=size, device=device, control=control, timeout=limit)
