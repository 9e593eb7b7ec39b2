"""Bash reads a block of the documentation as a person's terminal would; each command comes out as its words.

It reads it in a folder that looks like the root of the repository and has a space, a `#`, a `%` and an accent
in its path. The programs that blocks start (python, make, ray, ...) are stand-ins there, which note their
arguments; only `make` is the real one, whose recipes start stand-ins again.
"""

import os
import shutil
import subprocess
from pathlib import Path

from tests.docs.markdown import ROOT

NOTE = """\
#!/bin/sh
printf '%s\\0' $(($# + 1)) "${0##*/}" "$@" >> "$COMMANDS"
"""
PROGRAMS = ("python", "pip", "pytest", "ruff", "ray", "docker", "curl", "lm_eval")


def make_root(folder: Path) -> Path:
    """Everything of the repository by links, but for what runs leave behind and the programs."""
    for path in ROOT.iterdir():
        if path.name != "out" and not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in PROGRAMS:
        (programs / name).write_text(NOTE)
        (programs / name).chmod(0o755)
    (programs / "activate").write_text("# the programs are on PATH already\n")
    for stamp in ("installed", "installed-test"):
        (folder / ".venv" / stamp).touch()
    return folder


def commands(folder: Path, code: str, *, make: bool) -> list[list[str]]:
    """The commands of a block in their order, each as its words, after bash has done its part; with `make`,
    the commands of its recipes, too."""
    noted = folder / ".venv" / "commands"
    noted.unlink(missing_ok=True)
    bash = shutil.which("bash")
    assert bash is not None
    stand_in = folder / ".venv" / "bin" / "make"
    stand_in.unlink(missing_ok=True)
    if not make:
        shutil.copy(stand_in.with_name("python"), stand_in)
    path = f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "-eu", "-o", "pipefail", "-c", code],
        cwd=folder,
        env=os.environ | {"PATH": path, "COMMANDS": str(noted)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    words = noted.read_text().split("\0") if noted.exists() else []
    found = []
    while len(words) > 1:
        count = int(words[0])
        found.append(words[1 : count + 1])
        words = words[count + 1 :]
    return found
