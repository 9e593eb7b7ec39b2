"""Outputs of others' scorers, kept as files."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "vectors"


def load(name: str) -> list[dict[str, Any]]:
    """The rows of a file, but for its first line, which says where they come from."""
    lines = (FOLDER / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[1:]]
