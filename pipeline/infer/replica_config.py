"""What a Replica is, and from that to its engine: the same for one that is one process and one of several."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from model.checkpoint import default_dtype
from model.engine.config import EngineConfig
from model.engine.engine import BatchEngine
from model.executor.executor import Executor
from model.executor.factory import ExecutorConfig
from model.network.pixtral import Pixtral
from model.text.grammar import Grammars
from model.text.tokenizer import Tokenizer
from pipeline.plan.items import Plan, model_folder

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
    """What a rank on CPUs takes of its node: a byte, which each has. The cores are for the other stages, and
    are not counted twice."""
    threads: int = 1
    """Threads of torch in a rank on CPUs."""
    dtype: str = "auto"
    """What the model computes in."""
    cache_dtype: str = "auto"
    """What keys and values are kept in."""
    step_seconds: float = 180.0
    """No step takes so long: ranks that have not come through one by then hang, and are ended. The longest
    are the first ones, in which kernels are compiled and CUDA graphs are captured."""

    @property
    def engine(self) -> EngineConfig:
        return EngineConfig(
            executor=ExecutorConfig(fp8_weights=self.dtype == "fp8", fp8_cache=self.cache_dtype == "fp8")
        )


def take_device(config: ReplicaConfig) -> tuple[torch.device, torch.dtype]:
    """This process's device, and what the model is loaded in there."""
    device = torch.device("cuda", 0) if config.gpus else torch.device("cpu")
    if not config.gpus:
        torch.set_num_threads(config.threads)  # Ray set OMP_NUM_THREADS to the CPUs that it reserved
    return device, default_dtype(device) if config.dtype == "auto" else _DTYPES[config.dtype]


def make_engine(model: Pixtral, config: ReplicaConfig, executor: Executor | None = None) -> BatchEngine:
    """The engine over the model, or over the executor that computes with it."""
    tokenizer = Tokenizer.from_file(model_folder(config.plan.model) / "tekken.json", config.plan.vocab_size)
    grammars = Grammars(tokenizer) if config.plan.grammar else None
    return BatchEngine(
        model, eos_id=tokenizer.eos, grammars=grammars, config=config.engine, executor=executor
    )
