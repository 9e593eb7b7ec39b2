"""What a process that computes on a CPU keeps of the code that it makes."""

import os
import subprocess
import sys

from model.engine.config import EngineConfig
from pipeline.infer.device import PRIMITIVES, engine_config
from pipeline.infer.replica_config import ReplicaConfig
from tests.pipeline.plans import PLAN

# GELU is one primitive of oneDNN for each shape, in every format and on every CPU.
PROGRAM = """
import sys
import torch
from pipeline.infer.device import bound_primitives

bound_primitives()
for rows in (1, *range(2, 2 + int(sys.argv[1])), 1):
    torch.nn.functional.gelu(torch.ones(rows, 8))
"""


def made(others: int, **environment: str) -> list[str]:
    """How each primitive was come by: "miss" if it was made, "hit" if it was kept."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(others)],
        env=os.environ | {"ONEDNN_VERBOSE": "profile_create"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split(",") for line in done.stdout.splitlines() if "create:" in line]
    return [one.removeprefix("create:cache_") for line in lines for one in line if "create:cache" in one]


def test_the_code_that_is_kept_is_bounded() -> None:
    assert made(PRIMITIVES - 2)[-1] == "hit"
    assert made(PRIMITIVES + 2)[-1] == "miss"


def test_a_bound_that_a_person_has_set_stays() -> None:
    assert made(PRIMITIVES + 2, ONEDNN_PRIMITIVE_CACHE_CAPACITY="1024")[-1] == "hit"


def test_the_bounds_of_a_run_are_those_of_its_engine() -> None:
    assert engine_config(ReplicaConfig(plan=PLAN)) == EngineConfig()
    bounded = engine_config(ReplicaConfig(plan=PLAN, max_num_seqs=3, max_model_len=500))
    assert (bounded.executor.max_num_seqs, bounded.max_model_len) == (3, 500)
