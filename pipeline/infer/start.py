"""From the config of a Replica to the Supervisor of its ranks, for a run and for a server."""

from collections.abc import Callable
from functools import partial

from pipeline.infer.engine_loop import Deliver
from pipeline.infer.engine_process import EngineProcess
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.infer.supervisor import StartRanks, Supervisor


def start_supervisor(
    config: ReplicaConfig, deliver: Deliver, fail: Callable[[BaseException], None]
) -> Supervisor:
    """Comes back when the model is loaded. Several ranks need Ray. Raises EngineBrokenError."""
    start: StartRanks = partial(EngineProcess, config)
    if config.tensor_parallel > 1:
        # Only here: it brings torch, which a Replica of one rank does without.
        from pipeline.infer.tp_group import starter

        start = starter(config)
    return Supervisor(start, deliver, fail)
