"""What a process that computes makes of a ReplicaConfig: its device and dtype, and its engine's config.

Apart from `replica_config`, so that a Replica, whose ranks compute in other processes, does without torch.
"""

import os
from dataclasses import replace
from typing import Final

import torch

from model.checkpoint import default_dtype
from model.engine.config import EngineConfig
from model.executor.factory import ExecutorConfig
from pipeline.infer.replica_config import ReplicaConfig

_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,  # the tests', in which answers are equal however they come about
    "bfloat16": torch.bfloat16,
    "fp8": torch.bfloat16,
}


PRIMITIVES: Final = 48
"""Pieces of code that oneDNN keeps. It makes one for each shape of a product, and the shapes follow from the
page's: with its own bound of 1,024, a process grew by gigabytes over pages of many shapes."""


def bound_primitives() -> None:
    """Bounds what oneDNN keeps in this process, before it computes. A bound that a person has set stays."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES))


def take_device(config: ReplicaConfig) -> tuple[torch.device, torch.dtype]:
    """This process's device, and the type in which the model is loaded there."""
    bound_primitives()
    device = torch.device("cuda", 0) if config.gpus else torch.device("cpu")
    if not config.gpus:
        torch.set_num_threads(config.threads)  # Ray set OMP_NUM_THREADS to the CPUs that it reserved
    return device, default_dtype(device) if config.dtype == "auto" else _DTYPES[config.dtype]


def engine_config(config: ReplicaConfig) -> EngineConfig:
    """The engine of a Replica, and the executor of each of its ranks."""
    executor = ExecutorConfig(fp8_weights=config.dtype == "fp8", fp8_cache=config.cache_dtype == "fp8")
    if config.max_num_seqs is not None:
        executor = replace(executor, max_num_seqs=config.max_num_seqs)
    return EngineConfig(executor=executor, max_model_len=config.max_model_len)
