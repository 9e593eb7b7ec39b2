"""The configuration of a Replica, of one process or of several, and the device that each process takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from model.checkpoint import default_dtype
from model.engine.config import EngineConfig
from model.executor.factory import ExecutorConfig
from pipeline.plan.plan import Plan

_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,  # the tests', in which answers are equal however they come about
    "bfloat16": torch.bfloat16,
    "fp8": torch.bfloat16,
}


@dataclass(frozen=True, kw_only=True)
class ReplicaConfig:
    """One copy of the model, whole or shared out among ranks."""

    plan: Plan
    tensor_parallel: int = 1
    """Ranks; 1: the Replica's own process has the whole model."""
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
    step_seconds: float = 180.0
    """No step takes so long: ranks that have not come through one by then hang, and are ended. The longest
    are the first ones, in which kernels are compiled and CUDA graphs are captured."""

    @property
    def engine(self) -> EngineConfig:
        return EngineConfig(
            executor=ExecutorConfig(fp8_weights=self.dtype == "fp8", fp8_cache=self.cache_dtype == "fp8")
        )


def take_device(config: ReplicaConfig) -> tuple[torch.device, torch.dtype]:
    """This process's device, and the type in which the model is loaded there."""
    device = torch.device("cuda", 0) if config.gpus else torch.device("cpu")
    if not config.gpus:
        torch.set_num_threads(config.threads)  # Ray set OMP_NUM_THREADS to the CPUs that it reserved
    return device, default_dtype(device) if config.dtype == "auto" else _DTYPES[config.dtype]
