"""The key of a checkpoint: a digest of its content, wherever its folder lies.

In: a checkpoint's folder, or a model of the hub. Out: its key. All weights are read for it, so the key is
kept beside them; the hub says the digest of each file of weights, so that they need not be here.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from model.checkpoint_files import is_mistral, tensor_files
from model.hub import HubModel

_log = logging.getLogger(__name__)


def model_key(folder: Path) -> str:
    """SHA-256 over a checkpoint's files: configuration, tokenizer, tensors.

    Once computed, the key is kept in a file of the folder. The kept key is used as long as every file has the
    size and the modification time from which the key was computed.
    """
    config = folder / ("params.json" if is_mistral(folder) else "config.json")
    files = [config, *tensor_files(folder)]
    if (folder / "tekken.json").is_file():
        files.append(folder / "tekken.json")
    stamps = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(files)}
    kept = folder / ".model_key.json"
    try:
        known = json.loads(kept.read_text(encoding="utf-8"))
        if known["files"] == stamps:
            return str(known["key"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent, unreadable or of another shape: the key is computed again
    key = _key({name: _digest(folder / name) for name in stamps})
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".model_key", delete=False) as scratch:
            json.dump({"files": stamps, "key": key}, scratch)
        os.replace(scratch.name, kept)
    except OSError as error:
        _log.info("the model key is not kept beside %s (%s): the next run computes it again", folder, error)
    return key


def hub_model_key(model: HubModel) -> str:
    """The key that `model_key` finds for the model's folder, of which it fetches the small files alone.

    Raises HubError.
    """
    hashed = [name for name in model.files if not name.endswith(".index.json")]
    if any(name.endswith(".safetensors") and name not in model.sums for name in hashed):
        return model_key(model.folder())
    return _key({name: model.sums.get(name) or _digest(model.file(name)) for name in hashed})


def _key(digests: Mapping[str, str]) -> str:
    """The key of these files; their order does not count."""
    lines = (f"{name} {digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
