"""One rank of a Replica that is several processes: a GPU of its own, and its part of the weights.

Rank 0 has the engine, whose steps run in a thread and have the other ranks compute with it; those follow in a
thread of theirs. A rank survives no error, of its own or of another rank: it reports the error, and the
supervisor ends them all. Once the model is loaded, no call of a rank lasts longer than a heartbeat: a
supervisor that is to end waits for its calls first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition, Thread

from model.collectives.world import World, free_address, join
from model.engine.request import Completion, Group
from model.network.pixtral import Pixtral
from model.parallel.lockstep import TensorParallelExecutor, follow
from model.parallel.tensor_parallel import load_shard
from pipeline.infer.engine_loop import EngineLoop
from pipeline.infer.replica_config import ReplicaConfig, take_device
from pipeline.plan.plan import model_folder

HEARTBEAT_SECONDS = 1.0  # after which rank 0 reports though nothing is finished


@dataclass(frozen=True, kw_only=True)
class Report:
    """The work of a rank since its last report."""

    steps: int
    """Steps since rank 0 began; while anything is asked, they must not stand still."""
    completions: list[Completion]
    seconds: float
    """In which the engine worked."""


class TPWorker:
    """The actor, which is called in several threads."""

    def __init__(self, config: ReplicaConfig) -> None:
        self._config = config
        self._loop: EngineLoop | None = None
        self._changed = Condition()
        self._completions: list[Completion] = []
        self._seconds = 0.0
        self._error: Exception | None = None

    def address(self) -> str:
        """Where the others find rank 0, if this is it."""
        return free_address()

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

        executor = TensorParallelExecutor(model, world, self._config.engine.executor)
        engine = make_engine(model, self._config, executor)
        self._loop = EngineLoop(engine, self._deliver, self._break_off)

    def submit(self, groups: Sequence[Group]) -> None:
        """Groups for the engine of rank 0."""
        assert self._loop is not None, "rank 0 is not ready"
        self._loop.submit(groups)

    def ping(self) -> None:
        """Answers, if the process lives."""

    def report(self) -> Report:
        """The rank's news, once there is any; none after a second. Raises the error that ended the rank."""
        with self._changed:
            self._changed.wait_for(lambda: self._completions or self._error, timeout=HEARTBEAT_SECONDS)
            if self._error is not None and not self._completions:
                raise self._error
            steps = self._loop.steps if self._loop is not None else 0
            report = Report(steps=steps, completions=self._completions, seconds=self._seconds)
            self._completions, self._seconds = [], 0.0
        return report

    def _follow(self, model: Pixtral, world: World) -> None:
        try:
            follow(model, world, self._config.engine.executor)
        except Exception as error:
            self._break_off(error)  # every error: `report` raises it in the supervisor

    def _deliver(self, completions: list[Completion], seconds: float) -> None:
        with self._changed:
            self._completions += completions
            self._seconds += seconds
            if completions:
                self._changed.notify()

    def _break_off(self, error: Exception) -> None:
        with self._changed:
            self._error = error
            self._changed.notify()
