"""The memory of a running job, by kind of process, as the kernel counts it.

In: the process id of a job's driver. Out: bytes of each kind of process in its family. Ray's processes are
the driver's children, workers are the raylet's, sandboxes are the workers'. Each kind's own bytes are
anonymous memory, heaps and stacks, since these grow. Libraries and weights are mapped from files and stay as
they are; the object store is shared memory, and counted apart.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

DRIVER, REPLICA, WORKER, SANDBOX = "driver", "replica", "workers", "sandbox"
RAYLET, GCS, OTHERS = "raylet", "gcs", "others"
RAYS_OWN = ("Agent", "Stats", "Autoscal", "Tracker")  # its agents, and the actors of Ray Data
KINDS = (DRIVER, REPLICA, WORKER, SANDBOX, RAYLET, GCS, OTHERS)


@dataclass(kw_only=True)
class Footprint:
    """A family of processes at one moment."""

    own: Counter[str] = field(default_factory=Counter)
    """Anonymous bytes by kind."""
    processes: Counter[str] = field(default_factory=Counter)
    """How many there are of each kind."""
    everything: int = 0
    """All of their memory, what they share counted once."""
    session: Path | None = None
    """Ray's folder of this job."""


def footprint(driver: int) -> Footprint:
    """Of the driver and all its descendants. One that ends meanwhile is left out."""
    found = Footprint()
    for pid, place in family(driver):
        with suppress(FileNotFoundError, ProcessLookupError):
            command = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
            kind = DRIVER if pid == driver else kind_of(command)
            if kind == RAYLET:
                sessions = [word.partition("=")[2] for word in command if word.startswith("--session_dir=")]
                found.session = Path(sessions[0]) if sessions else None
            sizes = _sizes((place / "smaps_rollup").read_text())
            found.own[kind] += sizes["Pss_Anon"]
            found.processes[kind] += 1
            found.everything += sizes["Pss"]
    return found


def family(pid: int) -> Iterator[tuple[int, Path]]:
    """A process and all its descendants, each with its folder in /proc, from which it may have gone."""
    waiting = [pid]
    while waiting:
        place = Path(f"/proc/{(one := waiting.pop())}")
        for children in place.glob("task/*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):
                waiting += map(int, children.read_text().split())
        yield one, place


def kind_of(command: list[str]) -> str:
    """The kind of a process, by its command line, in which Ray's workers write their task."""
    name = command[0].rsplit("/", 1)[-1]
    if name.startswith("raylet"):
        return RAYLET
    if name.startswith("gcs_server"):
        return GCS
    if "pipeline.rasterize.sandbox_main" in command:
        return SANDBOX
    if "pipeline.infer.engine_main" in command:
        return REPLICA
    if not name.startswith("ray::") or any(role in command[0] for role in RAYS_OWN):
        return OTHERS
    return REPLICA if "(Replica)" in command[0] else WORKER


def _sizes(rollup: str) -> dict[str, int]:
    """Bytes by their names in /proc/PID/smaps_rollup."""
    lines = [line.split() for line in rollup.splitlines() if line.endswith(" kB")]
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}


def log_bytes(session: Path) -> int:
    """The size of Ray's logs so far."""
    sizes = []
    for path in (session / "logs").rglob("*"):
        with suppress(FileNotFoundError):
            sizes.append(path.lstat().st_size)
    return sum(sizes)
