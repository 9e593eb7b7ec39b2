"""Imports what every rank of a test needs, in the server that ranks are forked from (see `ranks`)."""

import os
from importlib import import_module

os.environ["DS_ACCELERATOR"] = "cpu"  # DeepSpeed reads it when it is imported; `join` says the same
for name in (
    "deepspeed",
    "llguidance",
    "model.parallel.lockstep",
    "model.parallel.tensor_parallel",
    "hypothesis",  # the modules that hold the ranks' tasks import it, and pytest
    "pytest",
):
    import_module(name)
