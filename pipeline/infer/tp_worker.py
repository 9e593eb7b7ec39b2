"""One rank of a Replica that is several processes: a GPU of its own, and its part of the weights.

Rank 0 has the engine, whose steps run in a thread and have the other ranks compute with it; those follow in a
thread of theirs. A rank survives no error, of its own or of another rank: it reports the error, and the
supervisor ends them all. Once the model is loaded, no call of a rank lasts longer than a heartbeat: a
supervisor that is to end waits for its calls first.
"""

from collections.abc import Sequence
from threading import Thread

from model.collectives.world import World, free_address, join
from model.engine.request import Group
from model.network.pixtral import Pixtral
from model.parallel.lockstep import TensorParallelExecutor, follow
from model.parallel.tensor_parallel import load_shard
from pipeline.infer.device import engine_config, take_device
from pipeline.infer.engine_loop import EngineLoop
from pipeline.infer.ranks import Outbox, Report
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.plan.model_place import model_folder


class TPWorker:
    """The actor, which is called in several threads."""

    def __init__(self, config: ReplicaConfig) -> None:
        self._config = config
        self._loop: EngineLoop | None = None
        self._outbox = Outbox()

    def address(self) -> str:
        """Where the others find rank 0, if this is it."""
        return free_address()

    def fetch(self) -> None:
        """Has the checkpoint on this machine, which the other ranks share. Raises HubError."""
        model_folder(self._config.plan.model)

    def start(self, rank: int, address: str) -> None:
        """Loads the rank's part; then rank 0 has its engine, and the others follow it."""
        device, dtype = take_device(self._config)
        world = join(rank, self._config.tensor_parallel, address, device, self._config.step_seconds)
        model = load_shard(model_folder(self._config.plan.model), world, dtype)
        if rank:
            Thread(target=self._follow, args=(model, world), name="rank", daemon=True).start()
            return
        # Only here: the engine brings llguidance, which ranks that follow do without.
        from pipeline.infer.engine_factory import make_engine

        executor = TensorParallelExecutor(model, world, engine_config(self._config).executor)
        engine = make_engine(model, self._config, executor)
        self._loop = EngineLoop(engine, self._outbox.deliver, self._outbox.break_off)

    def submit(self, groups: Sequence[Group]) -> None:
        """Groups for the engine of rank 0."""
        assert self._loop is not None, "rank 0 is not ready"
        self._loop.submit(groups)

    def abort(self, ids: Sequence[str]) -> None:
        """Branches that nobody wants any more."""
        assert self._loop is not None, "rank 0 is not ready"
        self._loop.abort(ids)

    def ping(self) -> None:
        """Answers, if the process lives."""

    def report(self) -> Report:
        """The rank's news, once there is any; none after a second. Raises the error that ended the rank."""
        return self._outbox.take()

    def start_report(self) -> Report:
        """`report`, while the rank loads its part: Ray calls a process by the last method that was called."""
        return self.report()

    def _follow(self, model: Pixtral, world: World) -> None:
        try:
            follow(model, world, engine_config(self._config).executor)
        except BaseException as error:
            self._outbox.break_off(error)  # every error: `report` raises it in the supervisor
