"""The key of a checkpoint: a digest of its content, wherever its folder lies.

In: a checkpoint's folder. Out: its key. All weights are read for it, so the key is kept beside them.
"""

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path

from model.checkpoint_files import is_mistral, tensor_files

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
    digest = hashlib.sha256()
    for name in stamps:
        with (folder / name).open("rb") as file:
            digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    key = digest.hexdigest()
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".model_key", delete=False) as scratch:
            json.dump({"files": stamps, "key": key}, scratch)
        os.replace(scratch.name, kept)
    except OSError as error:
        _log.info("the model key is not kept beside %s (%s): the next run computes it again", folder, error)
    return key
