"""The instructions of deploy/Dockerfile, in their order; as much of its language as the file uses."""

import json
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def instructions() -> Iterator[tuple[str, str]]:
    """Each instruction with its words, lines that a backslash joins as one."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").split("\n"):
        if line.strip():
            name, _, words = line.partition(" ")
            yield name, words


def named(name: str) -> list[str]:
    """The words of all instructions of this name."""
    return [words for one, words in instructions() if one == name]


def words_of(name: str) -> list[str]:
    """The list of an instruction in its JSON form, the last one of this name."""
    found: list[str] = json.loads(named(name)[-1])
    return found


def arguments() -> dict[str, str]:
    """Build arguments, with their defaults."""
    return dict(one.split("=", 1) for one in named("ARG"))
