"""Ranks whose short sums go through their shared memory, however many they are; on CPUs by a stand-in."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import MagicMock, patch

import torch
import torch.distributed as dist
from torch import Tensor

from model.collectives.all_reduce import TwoShotReducer, two_shot_reducer
from model.collectives.world import World


@contextmanager
def forced() -> Iterator[None]:
    """An executor that is made in it sums up so; two ranks would read each other's parts instead."""

    def make(world: World, rows: int, like_D: Tensor) -> TwoShotReducer:
        reducer = two_shot_reducer(world, rows, like_D)
        assert reducer is not None, "no memory that the ranks share"
        return reducer

    with ExitStack() as stack:
        if not torch.cuda.is_available():
            stack.enter_context(stood_in())
        stack.enter_context(patch("model.executor.factory.make_reducer", make))
        yield


@contextmanager
def stood_in() -> Iterator[None]:
    """A CPU has no symmetric memory: plain memory, and gloo's sum in the place of the kernel."""

    def add_up(part: Tensor, how: str, group: str) -> Tensor:
        assert how == "sum"
        dist.all_reduce(part)
        return part

    op: Any = MagicMock(side_effect=add_up)
    module = "model.collectives.all_reduce.symmetric_memory"
    with (
        patch(f"{module}.empty", torch.empty),
        patch(f"{module}.rendezvous", MagicMock()),
        patch.object(torch.ops.symm_mem, "two_shot_all_reduce_", op),
    ):
        yield
