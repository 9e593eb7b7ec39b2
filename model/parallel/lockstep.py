"""Ranks that compute the same batches at the same time, of which only the first is told what to compute.

In: on rank 0 what an engine asks of its network; on the others nothing. Out: the engine's features and
logits. Rank 0 sends each command as numbers, and never what another rank does not need: features of images
stay where the engine is, and go into the sum of the ranks' embeddings. Pixels travel to the rank that encodes
them, over the devices' own links. The cache of each rank has the same blocks; how many, they agree on.

A rank whose computation fails has left the lock-step, whatever the cause: nothing is tried again. Such an
error is a LockstepError on the rank that it happens to, which ends that process, and with it the world.

Shapes: T tokens, P patches, D width, V vocabulary, R rows that sample, K tokens that only the device knows, B
chunks, I images.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.cache.batch import Batch
from model.cache.paged_cache import PagedCache
from model.cache.plan import Chunk
from model.collectives.world import World
from model.executor.executor import REQUEST_ERRORS
from model.executor.factory import ExecutorConfig, make_executor
from model.network.pixtral import Pixtral
from model.parallel.vision_parallel import SharedEncoder

_STOP, _ENCODE, _COPY, _STEP = range(4)
# Numbers of a command that travel in one message: a decode step of 256 sequences of a page has some 15,000.
_FRAME = 16384


class LockstepError(Exception):
    """A step that the ranks have not come through together. Not one request's fault: the replica ends."""


class TensorParallelExecutor:
    """The network of rank 0, which has all others compute with it."""

    def __init__(self, model: Pixtral, world: World, config: ExecutorConfig) -> None:
        assert world.rank == 0, world.rank
        self._world = world
        self._executor = make_executor(model, config, world)
        self._encoder = SharedEncoder(model, self._executor.encode, world)

    @property
    def cache(self) -> PagedCache:
        return self._executor.cache

    def encode(self, images: Sequence[Tensor]) -> Tensor:
        if len(images) == 1:
            return self._executor.encode(images)  # nothing to share out
        sizes_I2 = np.array([image.shape[1:] for image in images], np.int32)
        try:
            send_command(self._world, _ENCODE, [sizes_I2.ravel()])
            features_PD = self._encoder(sizes_I2, images)
        except REQUEST_ERRORS as error:
            raise LockstepError(f"the ranks could not encode {len(images)} images: {error}") from error
        assert features_PD is not None, "rank 0 gathers them"
        return features_PD

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        if pairs:
            send_command(self._world, _COPY, [np.array(pairs, np.int32).ravel()])
            self._executor.copy(pairs)

    def step(self, batch: Batch) -> Tensor:
        ids_T = batch.ids_T.copy()
        for positions, _ in batch.patches:
            ids_T[positions] = -1
        batch = replace(batch, ids_T=ids_T)
        try:
            send_command(self._world, _STEP, _numbers(batch))
            if len(batch.unknown_K2):
                assert batch.sampled_before is not None, batch.unknown_K2
                self._world.tell(batch.sampled_before)
            return self._executor.step(batch)
        except REQUEST_ERRORS as error:
            raise LockstepError(
                f"the ranks could not compute a step of {len(ids_T)} tokens: {error}"
            ) from error

    def stop(self) -> None:
        """Ends the others' `follow`."""
        send_command(self._world, _STOP, [])


@torch.inference_mode()
def follow(model: Pixtral, world: World, config: ExecutorConfig) -> None:
    """What the other ranks do until the leader stops; `config` must be the leader's."""
    assert world.rank > 0, world.rank
    executor = make_executor(model, config, world)
    encoder = SharedEncoder(model, executor.encode, world)
    try:
        while (command := receive_command(world))[0] != _STOP:
            kind, arrays = command
            if kind == _ENCODE:
                encoder(arrays[0].reshape(-1, 2), None)
            elif kind == _COPY:
                executor.copy([(int(source), int(target)) for source, target in arrays[0].reshape(-1, 2)])
            else:
                executor.step(_batch(arrays, world))
    except REQUEST_ERRORS as error:
        raise LockstepError(f"rank {world.rank} cannot follow: {error}") from error


def _numbers(batch: Batch) -> list[NDArray[np.int32]]:
    """What the others need of a batch: its chunks and tokens, and how many samples they will be told."""
    chunks = batch.chunks
    rows_B4 = [(one.start, one.count, one.samples, len(one.table)) for one in chunks]
    samples = 0 if batch.sampled_before is None else len(batch.sampled_before)
    return [
        np.array(rows_B4, np.int32).ravel(),
        np.concatenate([np.asarray(one.table, np.int32) for one in chunks]),
        batch.ids_T,
        batch.unknown_K2.ravel(),
        np.array([samples], np.int32),
    ]


def _batch(arrays: Sequence[NDArray[np.int32]], world: World) -> Batch:
    """The leader's batch without its patches; comes after `tell` of what the step before has sampled."""
    rows, tables, ids_T, unknown, samples = arrays
    rows_B4 = rows.reshape(-1, 4)
    ends = np.cumsum(rows_B4[:, 3])
    unknown_K2 = unknown.reshape(-1, 2)
    sampled_before = None
    if len(unknown_K2):
        sampled_before = torch.empty(int(samples[0]), dtype=torch.int64, device=world.device)
        world.tell(sampled_before)
    chunks = [
        Chunk(index, start, count, tuple(tables[end - length : end].tolist()), bool(sampling))
        for index, ((start, count, sampling, length), end) in enumerate(
            zip(rows_B4.tolist(), ends.tolist(), strict=True)
        )
    ]
    return Batch(chunks, ids_T, unknown_K2, sampled_before, ())


def send_command(world: World, kind: int, arrays: Sequence[NDArray[np.int32]]) -> None:
    """To all others: lengths first, in one message where it is short."""
    head = np.array([kind, len(arrays), *map(len, arrays)], np.int32)
    numbers = np.concatenate([head, *arrays])
    frame = np.zeros(_FRAME, np.int32)
    frame[: min(_FRAME, len(numbers))] = numbers[:_FRAME]
    world.command(torch.from_numpy(frame))
    if len(numbers) > _FRAME:
        world.command(torch.from_numpy(numbers[_FRAME:]))


def receive_command(world: World) -> tuple[int, list[NDArray[np.int32]]]:
    """What rank 0 sends next."""
    frame = np.empty(_FRAME, np.int32)
    world.command(torch.from_numpy(frame))
    kind, count = frame[:2].tolist()
    lengths = frame[2 : 2 + count]
    total = 2 + count + int(lengths.sum())
    if total > _FRAME:
        rest = np.empty(total - _FRAME, np.int32)
        world.command(torch.from_numpy(rest))
        frame = np.concatenate([frame, rest])
    return kind, np.split(frame[2 + count : total], np.cumsum(lengths)[:-1])
