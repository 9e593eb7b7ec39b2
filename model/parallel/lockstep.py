"""Ranks that compute the same steps together: rank 0's executor sends commands, and the other ranks follow.

In: on rank 0, the calls of an engine to its executor; on the other ranks nothing. Out: features and logits on
rank 0. A command is a few arrays of numbers. Rank 0 sends only numbers that the others need. Image features
stay on rank 0: they reach the others in the sum of the embeddings. Pixels go to the rank that encodes them,
over the devices' own links. All ranks have caches of the same size, and block numbers mean the same blocks on
each.

If a rank fails to compute a step, for whatever reason, the ranks are no longer in step, and nothing is tried
again. The error becomes a LockstepError on that rank. It ends the process, and with it the world.

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
from model.executor.vision_parallel import ParallelVisionEncoder
from model.network.pixtral import Pixtral

_STOP, _ENCODE, _COPY, _STEP = range(4)
# Numbers of a command that fit into its first message. A decoding step of 256 sequences of a page has 15,000.
_FRAME = 16384


class LockstepError(Exception):
    """The ranks failed to compute a step together. No single request is at fault: the replica must end."""


class TensorParallelExecutor:
    """The executor of rank 0. Each call is computed by all ranks together."""

    def __init__(self, model: Pixtral, world: World, config: ExecutorConfig) -> None:
        assert world.rank == 0, world.rank
        self._world = world
        self._executor = make_executor(model, config, world)
        self._encoder = ParallelVisionEncoder(model, self._executor.encode, world)

    @property
    def cache(self) -> PagedCache:
        return self._executor.cache

    def encode(self, images: Sequence[Tensor]) -> Tensor:
        if len(images) == 1:
            return self._executor.encode(images)  # one image cannot be shared out
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
            send_command(self._world, _STEP, _to_arrays(batch))
            if len(batch.unknown_K2):
                assert batch.sampled_before is not None, batch.unknown_K2
                self._world.broadcast(batch.sampled_before)
            return self._executor.step(batch)
        except REQUEST_ERRORS as error:
            raise LockstepError(
                f"the ranks could not compute a step of {len(ids_T)} tokens: {error}"
            ) from error

    def stop(self) -> None:
        """Ends `follow` on the other ranks."""
        send_command(self._world, _STOP, [])


@torch.inference_mode()
def follow(model: Pixtral, world: World, config: ExecutorConfig) -> None:
    """Executes rank 0's commands on any other rank, until rank 0 stops. `config` must be rank 0's."""
    assert world.rank > 0, world.rank
    executor = make_executor(model, config, world)
    encoder = ParallelVisionEncoder(model, executor.encode, world)
    try:
        while (command := receive_command(world))[0] != _STOP:
            kind, arrays = command
            if kind == _ENCODE:
                encoder(arrays[0].reshape(-1, 2), None)
            elif kind == _COPY:
                executor.copy([(int(source), int(target)) for source, target in arrays[0].reshape(-1, 2)])
            else:
                executor.step(_from_arrays(arrays, world))
    except REQUEST_ERRORS as error:
        raise LockstepError(f"rank {world.rank} cannot follow: {error}") from error


def _to_arrays(batch: Batch) -> list[NDArray[np.int32]]:
    """A batch as arrays. Of the tokens sampled before, only their number: they are broadcast later."""
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


def _from_arrays(arrays: Sequence[NDArray[np.int32]], world: World) -> Batch:
    """Rank 0's batch, without its patches. If tokens are unknown, receives the tokens sampled before, too."""
    rows, tables, ids_T, unknown, samples = arrays
    rows_B4 = rows.reshape(-1, 4)
    ends = np.cumsum(rows_B4[:, 3])
    unknown_K2 = unknown.reshape(-1, 2)
    sampled_before = None
    if len(unknown_K2):
        sampled_before = torch.empty(int(samples[0]), dtype=torch.int64, device=world.device)
        world.broadcast(sampled_before)
    chunks = [
        Chunk(index, start, count, tuple(tables[end - length : end].tolist()), bool(sampling))
        for index, ((start, count, sampling, length), end) in enumerate(
            zip(rows_B4.tolist(), ends.tolist(), strict=True)
        )
    ]
    return Batch(chunks, ids_T, unknown_K2, sampled_before, ())


def send_command(world: World, kind: int, arrays: Sequence[NDArray[np.int32]]) -> None:
    """Sends a command to all other ranks: its kind, the lengths of its arrays, and the arrays.

    A first message of fixed length holds all of it, if it is short. The rest goes into a second message.
    """
    head = np.array([kind, len(arrays), *map(len, arrays)], np.int32)
    numbers = np.concatenate([head, *arrays])
    frame = np.zeros(_FRAME, np.int32)
    frame[: min(_FRAME, len(numbers))] = numbers[:_FRAME]
    world.broadcast_on_host(torch.from_numpy(frame))
    if len(numbers) > _FRAME:
        world.broadcast_on_host(torch.from_numpy(numbers[_FRAME:]))


def receive_command(world: World) -> tuple[int, list[NDArray[np.int32]]]:
    """Rank 0's next command: its kind and its arrays."""
    frame = np.empty(_FRAME, np.int32)
    world.broadcast_on_host(torch.from_numpy(frame))
    kind, count = frame[:2].tolist()
    lengths = frame[2 : 2 + count]
    total = 2 + count + int(lengths.sum())
    if total > _FRAME:
        rest = np.empty(total - _FRAME, np.int32)
        world.broadcast_on_host(torch.from_numpy(rest))
        frame = np.concatenate([frame, rest])
    return kind, np.split(frame[2 + count : total], np.cumsum(lengths)[:-1])
