"""Engine configurations for tests, written flat: a field goes to the engine's config or to its executor's."""

from dataclasses import fields, replace
from typing import Any

from model.engine.config import EngineConfig
from model.executor.factory import ExecutorConfig

_EXECUTOR_FIELDS = {field.name for field in fields(ExecutorConfig)}


def configured(config: EngineConfig | None = None, **changes: Any) -> EngineConfig:
    """The config, else the default one, with some of its fields changed."""
    config = config or EngineConfig()
    inner = {name: value for name, value in changes.items() if name in _EXECUTOR_FIELDS}
    outer = {name: value for name, value in changes.items() if name not in _EXECUTOR_FIELDS}
    return replace(config, executor=replace(config.executor, **inner), **outer)
