"""The processes that share one model: how they find one another, and what they say.

In: a rank and the address of rank 0. Out: a World, through which ranks sum and gather tensors on their
devices and rank 0 tells the others what to do. One world a process, for the process's life: DeepSpeed and
NCCL keep state that a second one would find. Nothing of models here.

A rank that dies or hangs is noticed by the others. On a CPU, gloo raises in them: at once in those that were
just exchanging with a dead one, and in the rest as these end their processes, which an error must lead to;
after `timeout` for one that hangs. On a GPU, NCCL's watchdog ends the process (SIGABRT) when a collective
takes longer than `timeout`. What it does not see is left to whoever has started the ranks, who must end them
all when one is gone or a step takes too long: a collective inside a CUDA graph, a rank that waits for the
other's part of a sum (`sums.Pair`), and a leader that hangs, for which the others wait without a limit, since
an idle one may be silent for hours.
"""

import os
import socket
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

# How long a rank waits for a command. A leader that dies closes the connection, which ends the wait at once.
_PATIENCE = timedelta(days=365)


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
class World:
    """One rank's view of those that share a model."""

    rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup
    """Carries commands, which wait on the host and for no device; tensors go through the default group."""
    timeout: timedelta
    """For a collective, and for the others to take a command."""

    def command(self, numbers: Tensor) -> None:
        """Rank 0's numbers, on the host, into the others' tensors, which wait for them without a limit.

        RuntimeError on rank 0 after `timeout`: one that hangs soon takes no more than its socket's buffer.
        """
        work: dist.Work | None = dist.broadcast(numbers, 0, group=self.control, async_op=True)
        assert work is not None, "every rank is in it"
        work.wait(_PATIENCE if self.rank else self.timeout)

    def sum(self, part: Tensor) -> dist.Work:
        """Begins to add up the ranks' parts, in place. Can be captured in a CUDA graph."""
        work: dist.Work | None = dist.all_reduce(part, async_op=True)
        assert work is not None, "every rank is in the default group"
        return work

    def gather(self, part: Tensor) -> list[Tensor]:
        """All ranks' parts, of one shape, on each. Can be captured in a CUDA graph."""
        parts = list(part.new_empty(self.size, *part.shape))
        # Not on the computing stream, but behind the sums that are under way.
        work: dist.Work | None = dist.all_gather(parts, part.contiguous(), async_op=True)
        assert work is not None, "every rank is in the default group"
        work.wait()
        return parts

    def tell(self, numbers: Tensor) -> None:
        """Rank 0's numbers into the others' tensors."""
        dist.broadcast(numbers, 0)

    def scatter(self, mine: Tensor, all_N: Tensor | None) -> Tensor:
        """Rank 0's `all_N` (size, ...) row by row into the ranks' `mine`, which it returns."""
        dist.scatter(mine, None if all_N is None else list(all_N), 0)
        return mine

    def collect(self, mine: Tensor) -> Tensor | None:
        """The ranks' tensors, of one shape, as (size, ...) on rank 0."""
        all_N = mine.new_empty(self.size, *mine.shape) if self.rank == 0 else None
        dist.gather(mine, None if all_N is None else list(all_N), 0)
        return all_N

    def meet(self) -> None:
        """Waits for the others without a limit: after what may take longer than a collective may."""
        dist.barrier(group=self.control)

    def least(self, number: int) -> int:
        """The smallest of the ranks' numbers."""
        lowest = torch.tensor(number)
        dist.all_reduce(lowest, dist.ReduceOp.MIN, group=self.control)
        return int(lowest)

    def leave(self) -> None:
        """An orderly end, which all ranks come to; after an error, end the process instead. CUDA graphs that
        hold sums must be gone, and with them the network: NCCL would wait for them."""
        dist.destroy_process_group()


def join(rank: int, size: int, address: str, device: torch.device, timeout: float) -> World:
    """Meets the other ranks at rank 0's address; `timeout` in seconds for that, and for each collective."""
    limit = timedelta(seconds=timeout)
    on_gpu = device.type == "cuda"
    assert not on_gpu or device.index is not None, device
    if on_gpu:
        torch.cuda.set_device(device)
    # DeepSpeed would guess, with a warning.
    os.environ["DS_ACCELERATOR"] = device.type
    # The watchdog would first spend up to 15 seconds on writing down what it knows.
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
