"""What only some measures need: packages of the [evaluate] extra."""

from importlib import import_module
from types import ModuleType

from pipeline.extras import missing

EXTRA = "evaluate"


def need(name: str) -> ModuleType:
    """A module of the extra. Raises ValueError that says how to install it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(missing(error, EXTRA)) from error
