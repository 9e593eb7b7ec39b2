"""The configuration of a Replica, of one rank or of several. No torch: see `device`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.plan.plan import Plan


@dataclass(frozen=True, kw_only=True)
class ReplicaConfig:
    """One copy of the model, in a process or shared out among several."""

    plan: Plan
    tensor_parallel: int = 1
    """Ranks; 1: one process has the whole model."""
    gpus: int = 0
    """GPUs of a rank: 1, or 0 on CPUs."""
    bundle: Mapping[str, float] = field(default_factory=lambda: {"memory": 1.0})
    """The resources that a rank on CPUs reserves: a byte, which each node has. The cores are for the other
    stages, and are not counted twice."""
    threads: int = 1
    """Threads of torch in a rank on CPUs."""
    dtype: str = "auto"
    """The type in which the model computes."""
    cache_dtype: str = "auto"
    """The type of the cached keys and values."""
    max_num_seqs: int | None = None
    """Sequences that run at a time. None: the engine's own bound."""
    max_model_len: int | None = None
    """Tokens of a prompt and its answer together. None: what the model can."""
    step_seconds: float = 180.0
    """No step takes so long: ranks that have not come through one by then hang, and are ended. The longest
    are the first ones, in which kernels are compiled and CUDA graphs are captured."""
