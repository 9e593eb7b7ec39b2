"""Copies of a model are measured beside one another, whole or shared out."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs import benchmark
from jobs.bench.parallel import Setup, layouts, make_parser, measure
from jobs.bench.workloads import WORKLOADS
from model.checkpoint_files import load_config

pytestmark = pytest.mark.processes

NANO = Path("model/nano")


def test_each_size_is_measured_once_and_then_each_number_of_copies() -> None:
    assert layouts(load_config(NANO), [2, 1, 2], [1, 2]) == [(1, 1), (1, 2), (2, 1)]
    alone = make_parser().parse_args(["--tensor-parallel", "2", "--replicas"])
    assert layouts(load_config(NANO), alone.tensor_parallel, alone.replicas) == [(1, 2)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tensor-parallel", "3"], "choose one of 1, 2"),
        (["--replicas", "0"], "--replicas 0: it must be at least 1"),
        (["--overlap", "0"], "overlap is 0: it must be at least 1"),
        (["--split", "-1"], "split is -1: it must be at least 1"),
        (["--share", "2"], "--share 2.0: it must be above 0, and 1 at most"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(["parallel", *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.soak
def test_random_weights_are_shared_out_like_a_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKLOADS, "W1", replace(WORKLOADS["W1"], width=256, height=256))
    setup = Setup(
        model=load_config(NANO),
        tokenizer=NANO / "tekken.json",
        dtype=torch.float32,
        share=0.004,
        fp8=False,
        overlap=None,
        split=None,
    )
    row = measure(setup, copies=1, ranks=2)
    assert (row["replicas"], row["tensor_parallel"]) == (1, 2)
    assert row["pages_per_second"] > 0
    assert row["prefill_tokens_per_second"] > row["decode_tokens_per_second"] > 0
    assert row["in_collectives"] is None, "there is no GPU's profile"
