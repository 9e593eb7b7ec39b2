"""How the engine schedules requests and ends answers. How a step is computed stands in `ExecutorConfig`."""

from dataclasses import dataclass, field

from model.engine.repetition import RepetitionLimit
from model.executor.factory import ExecutorConfig


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """The engine's choices, and those of the executor that it makes unless it is given one."""

    executor: ExecutorConfig = field(default=ExecutorConfig())
    """How steps are computed. An executor that is handed to the engine must have been made with the same."""
    max_model_len: int | None = None
    """Most tokens of a prompt and its answer together. None: what the model can."""
    reserve: float = 1.0
    """A new group is admitted only if the cache has blocks for its prompt and for this share of the tokens
    that admitted sequences may still write. At 1, no sequence is ever preempted. Below 1, more sequences run
    at a time; if they do write so much, the sequence admitted last is preempted and computed again later."""
    encode_patches: int | None = None
    """Patches of one encoder batch. When the encoder has to run, it also encodes images of waiting groups,
    until the batch has so many. None: on a GPU as many as fill it, on a CPU only those of the step."""
    async_scheduling: bool | None = None
    """Plan and launch a step before the tokens of the step before it are read. None: on a GPU, which then
    does not wait for the host between two steps."""
    repetition: RepetitionLimit = field(default=RepetitionLimit())
    """When an answer counts as a loop."""
