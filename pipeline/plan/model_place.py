"""Where a run's checkpoint lies: in a folder that each machine has, or on the hub.

In: what --model says. Out: a place, which travels to every task; and in a task, the checkpoint's files. A
machine fetches those that it needs: one that only reads and writes prompts needs the tokenizer alone.
"""

from functools import cache
from pathlib import Path

from model import hub
from model.checkpoint_files import check_checkpoint
from model.config import PixtralConfig
from model.hub import HubModel
from model.model_key import hub_model_key, model_key
from pipeline.child_process import ROOT

ModelPlace = str | HubModel  # a folder (relative to Quire's own root if it is inside it), or one of the hub


def find_model(given: str) -> ModelPlace:
    """The place that a folder's path, or a name on the hub, means now. Raises ValueError."""
    if hub.is_hub_name(given):
        return hub.find(given)
    folder = Path(given).expanduser().absolute()
    return str(folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder)


def model_name(given: str) -> str:
    """What people call the model that --model names: owner/name on the hub, or its folder's name."""
    if hub.is_hub_name(given):
        return given.partition("@")[0]
    return Path(given).expanduser().absolute().name


def model_shape(place: ModelPlace) -> PixtralConfig:
    """The model's shape; in a folder, all tensors are checked for it. Raises ValueError."""
    if isinstance(place, str):
        return check_checkpoint(model_folder(place))
    config = place.file(place.config)
    if config.name == "params.json":
        return PixtralConfig.from_file(config)
    return PixtralConfig.from_hugging_face(config)


def key_of(place: ModelPlace) -> str:
    """The digest of the checkpoint's content: see `model.model_key`. Raises ValueError."""
    return model_key(model_folder(place)) if isinstance(place, str) else hub_model_key(place)


def model_folder(place: ModelPlace) -> Path:
    """The checkpoint's folder in this process: Ray may have unpacked Quire's own files somewhere else.

    A model of the hub is fetched as far as this machine lacks it. Raises HubError.
    """
    return ROOT / place if isinstance(place, str) else _fetched(place)


def tokenizer_file(place: ModelPlace) -> Path:
    """The tokenizer in this process; of a model of the hub, nothing else is fetched. Raises HubError."""
    return ROOT / place / hub.TOKENIZER if isinstance(place, str) else place.file(hub.TOKENIZER)


@cache
def _fetched(model: HubModel) -> Path:
    return model.folder()
