"""An engine whose network is several ranks answers as one that computes alone."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from model.checkpoint import load_model, save_model
from model.collectives.world import World
from model.engine.config import EngineConfig
from model.engine.engine import BatchEngine
from model.engine.reference import ReferenceEngine
from model.engine.request import Completion, Group
from model.engine.sampling_params import SamplingParams
from model.parallel.lockstep import TensorParallelExecutor, follow, receive_command, send_command
from model.parallel.tensor_parallel import load_shard
from model.text.grammar import Grammars
from model.text.tokenizer import Tokenizer
from tests.model.collectives.two_shot import forced
from tests.model.configs import configured
from tests.model.engine.test_engine import (
    EOS,
    ROOMY,
    SIZE,
    answers,
    assert_empty,
    assert_equal,
    make_group,
    mixed_groups,
)
from tests.model.executor.fused import assert_alike
from tests.model.ranks import Ranks
from tests.model.tiny import tiny_pixtral

pytestmark = pytest.mark.processes

TEKKEN = Path("model/nano/tekken.json")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    vocab_size = Tokenizer.from_file(TEKKEN).vocab_size
    save_model(tiny_pixtral(dtype=torch.float64, vocab_size=vocab_size, n_kv_heads=4), folder)
    return folder


def together(
    world: World,
    folder: Path,
    groups: Sequence[Group],
    configs: Sequence[EngineConfig],
    dtype: torch.dtype = torch.float64,
    two_shot: bool = False,
) -> list[tuple[dict[str, Completion], int]] | None:
    """On rank 0 the answers under each config, and how often a sequence was preempted."""
    with forced() if two_shot else nullcontext():
        return asked(world, folder, groups, configs, dtype)


def asked(
    world: World,
    folder: Path,
    groups: Sequence[Group],
    configs: Sequence[EngineConfig],
    dtype: torch.dtype,
) -> list[tuple[dict[str, Completion], int]] | None:
    grammars = Grammars(Tokenizer.from_file(TEKKEN)) if world.rank == 0 else None
    done = []
    for config in configs:
        model = load_shard(folder, world, dtype)
        if world.rank:
            follow(model, world, config.executor)
            continue
        leader = TensorParallelExecutor(model, world, config.executor)
        engine = BatchEngine(model, eos_id=EOS, grammars=grammars, config=config, executor=leader)
        done.append((answers(engine, groups), engine.preemptions))
        assert_empty(engine)
        leader.stop()
    return None if world.rank else done


def constrained_group() -> Group:
    number = json.dumps({"type": "integer", "minimum": 100, "maximum": 999})
    day = json.dumps({"type": "string", "format": "date"})
    group = make_group("g", [(0, 2, 3)], [(3, 12)] * 4, sampling=SamplingParams(temperature=1.0))
    schemas = [day, None, number, number]
    branches = [replace(one, grammar=schema) for one, schema in zip(group.branches, schemas, strict=True)]
    return replace(group, branches=branches)


def test_the_answers_are_those_of_one_process(ranks: Ranks, saved: Path) -> None:
    """Shared prefixes, several images, grammars; at once and in pieces, ahead or not, and preempted."""
    groups = [*mixed_groups(), constrained_group()]
    model = load_model(saved, device="cpu", dtype=torch.float64)
    expected = answers(
        ReferenceEngine(model, eos_id=EOS, grammars=Grammars(Tokenizer.from_file(TEKKEN))), groups
    )
    assert {one.finish_reason for one in expected.values()} == {"length", "stop"}
    tight = configured(ROOMY, cache_tokens=17 * SIZE, reserve=0.0, max_num_batched_tokens=20)
    configs = [
        configured(ROOMY, encode_patches=1000, async_scheduling=False),
        configured(tight, async_scheduling=True),
        configured(ROOMY, async_scheduling=True),
        configured(tight, async_scheduling=False),
    ][: 8 // len(ranks.processes)]
    [outcomes, *others] = ranks(together, saved, groups, configs)
    assert others == [None] * len(others)
    for (done, preemptions), config in zip(outcomes, configs, strict=True):
        assert_equal(done, expected)
        assert bool(preemptions) == (config.reserve == 0)


def cache_of(world: World, folder: Path) -> int:
    """With nothing said of the cache: the memory of the poorest rank decides."""
    model = load_shard(folder, world, torch.float64)
    config = configured(ROOMY, cache_tokens=None)
    with patch("model.executor.factory.tokens_that_fit", lambda *_, **__: 1000 + 100 * world.rank):
        if world.rank:
            follow(model, world, config.executor)
            return 0
        leader = TensorParallelExecutor(model, world, config.executor)
        leader.stop()
        return leader.cache.blocks


def test_the_cache_is_what_every_rank_has_room_for(ranks: Ranks, saved: Path) -> None:
    assert ranks(cache_of, saved)[0] == 1000 // SIZE


def exchange(world: World, arrays: Sequence[np.ndarray]) -> bool:
    if world.rank == 0:
        send_command(world, 7, arrays)
        return True
    kind, received = receive_command(world)
    return kind == 7 and [one.tolist() for one in received] == [one.tolist() for one in arrays]


@pytest.mark.parametrize("lengths", [[0], [3, 0, 2], [16380, 1], [16381], [16384, 5], [0, 40000, 3]])
def test_commands_arrive_whole_however_long(ranks: Ranks, lengths: list[int]) -> None:
    arrays = [np.arange(length, dtype=np.int32) for length in lengths]
    assert all(ranks(exchange, arrays))


def ready(world: World, folder: Path) -> None:
    load_shard(folder, world, torch.float64)


def endless(world: World, folder: Path, begun: Path) -> None:
    """Works until the world ends; once it does, the file is there."""
    model = load_shard(folder, world, torch.float64)
    if world.rank:
        follow(model, world, ROOMY.executor)
    engine = BatchEngine(
        model, eos_id=EOS, config=ROOMY, executor=TensorParallelExecutor(model, world, ROOMY.executor)
    )
    while True:
        answers(engine, [make_group("a", [(0, 2, 3)], [(3, 6)])])
        begun.touch()


@pytest.mark.parametrize(
    ("size", "victim", "how", "within"),
    [
        (2, 0, signal.SIGKILL, 20.0),  # a sum may take 60 seconds
        (4, 2, signal.SIGKILL, 20.0),
        (2, 1, signal.SIGSTOP, 30.0),  # a sum may take 5 seconds
    ],
)
def test_a_rank_that_dies_or_hangs_ends_the_others(
    saved: Path, tmp_path: Path, size: int, victim: int, how: signal.Signals, within: float
) -> None:
    ranks = Ranks(size, timeout=5.0 if how == signal.SIGSTOP else 60.0)
    try:
        ranks(ready, saved)
        ranks.start(endless, saved, tmp_path / "begun")
        while not (tmp_path / "begun").exists():
            time.sleep(0.1)
        ranks.signal(victim, how)
        stopped = time.monotonic()
        for rank in set(range(size)) - {victim}:
            assert f"LockstepError: {'rank' if rank else 'the ranks could not'}" in ranks.error(rank)
        assert time.monotonic() - stopped < within
    finally:
        ranks.close()


def unheard(world: World) -> None:
    """Rank 1 takes no command, of which the leader sends more than any buffer holds."""
    while world.rank:
        time.sleep(1)
    while True:
        send_command(world, 7, [np.zeros(1 << 20, np.int32)])


def test_a_leader_waits_for_a_rank_to_take_a_command_as_long_as_for_a_sum() -> None:
    ranks = Ranks(2, timeout=3.0)
    try:
        ranks.start(unheard)
        assert "Operation timed out" in ranks.error(0)
    finally:
        ranks.close()


def faulty(world: World, folder: Path, groups: Sequence[Group]) -> None:
    """Rank 1 runs out of memory in its third step."""
    model = load_shard(folder, world, torch.float64)
    if world.rank == 0:
        executor = TensorParallelExecutor(model, world, ROOMY.executor)
        answers(BatchEngine(model, eos_id=EOS, config=ROOMY, executor=executor), groups)
    calls = count()
    step = model.step

    def fail(*args: Any) -> torch.Tensor:
        if next(calls) == 2:
            raise torch.OutOfMemoryError("no memory")
        return step(*args)

    with patch.object(model, "step", fail):
        follow(model, world, ROOMY.executor)


def test_a_step_that_fails_on_one_rank_is_no_requests_error(saved: Path) -> None:
    ranks = Ranks(2)
    try:
        ranks.start(faulty, saved, mixed_groups())
        assert "LockstepError: rank 1 cannot follow: no memory" in ranks.error(1)
        assert "LockstepError: the ranks could not compute a step of" in ranks.error(0)
    finally:
        ranks.close()


@pytest.mark.parametrize("ranks", [2], indirect=True)
@pytest.mark.parametrize(
    ("two_shot", "overlap", "split"),
    [(False, 2, 8), (True, None, 8)],
    ids=["in two halves", "in the ranks' memory"],
)
def test_the_gpus_network_is_shared_like_the_plain_one(
    ranks: Ranks, saved: Path, two_shot: bool, overlap: int | None, split: int | None
) -> None:
    """Steps are computed in two halves, or short sums lie in one buffer; large steps' streams are split."""
    pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")
    groups = [make_group("a", [(0, 2, 3), (1, 1, 2)], [(3, 2), (4, 2)])]
    expected = answers(
        ReferenceEngine(load_model(saved, device="cpu", dtype=torch.float32), eos_id=EOS), groups
    )
    config = configured(
        ROOMY,
        fused=True,
        async_scheduling=True,
        max_num_batched_tokens=20,
        encode_patches=0,
        overlap=overlap,
        split=split,
    )
    [outcomes, *_] = ranks(together, saved, groups, [config], torch.float32, two_shot)
    [(done, _)] = outcomes
    assert_alike(done, expected, 1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("split", [None, 2])
@pytest.mark.parametrize("overlap", [None, 2])
@pytest.mark.parametrize(("size", "two_shot"), [(2, False), (2, True), (4, True)])
def test_gpus_answer_together_as_one_process(
    saved: Path, size: int, two_shot: bool, overlap: int | None, split: int | None
) -> None:
    """Graphs hold the sums of decode steps."""
    if torch.cuda.device_count() < size:
        pytest.skip(f"{torch.cuda.device_count()} CUDA devices, and {size} are needed")
    groups = [make_group("a", [(0, 2, 3), (1, 1, 2)], [(3, 9), (4, 12)]), make_group("b", [], [(2, 8)])]
    expected = answers(
        ReferenceEngine(load_model(saved, device="cpu", dtype=torch.float32), eos_id=EOS), groups
    )
    config = configured(block_size=64, cache_tokens=4096, encode_patches=1000, overlap=overlap, split=split)
    ranks = Ranks(size, kind="cuda")
    try:
        [outcomes, *_] = ranks(together, saved, groups, [config], torch.float32, two_shot)
    finally:
        ranks.close()
    [(done, _)] = outcomes
    assert_alike(done, expected, 1e-3)


def test_a_rank_that_only_follows_imports_no_grammars() -> None:
    """llguidance, which only rank 0's engine needs."""
    program = "import sys, model.parallel.lockstep, model.parallel.tensor_parallel; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "model.executor.factory" in done.stdout.split()
    assert "llguidance" not in done.stdout.split()
