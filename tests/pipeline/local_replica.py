"""A Replica whose engine is in this process: for tests of what stands before and behind it."""

from model.checkpoint import load_model
from pipeline.infer.device import take_device
from pipeline.infer.engine_factory import make_engine
from pipeline.infer.engine_loop import EngineLoop
from pipeline.infer.pending_calls import PendingCalls
from pipeline.infer.replica import Replica
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.plan.model_place import model_folder


class LocalReplica(Replica):
    """It starts in no time, and dies with its test."""

    def start_worker(self, config: ReplicaConfig, calls: PendingCalls) -> EngineLoop:
        device, dtype = take_device(config)
        model = load_model(model_folder(config.plan.model), device=device, dtype=dtype)
        return EngineLoop(make_engine(model, config), calls.deliver, calls.fail)
