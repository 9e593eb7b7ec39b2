"""Has a job's model on this machine, with a word about what is downloaded."""

from pathlib import Path

from jobs.run.terminal import say
from model.hub import HubModel
from pipeline.plan.model_place import ModelPlace, model_folder


def fetch(place: ModelPlace) -> Path:
    """The checkpoint's folder; what the machine lacks of it is downloaded, with a bar. Raises HubError."""
    if isinstance(place, HubModel) and (missing := place.missing()):
        size = sum(place.sizes.get(name, 0) for name in missing) / 2**30
        say(f"fetching {place}: {len(missing)} files, {size:.2f} GiB")
    return model_folder(place)
