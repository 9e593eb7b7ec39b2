"""The memory that this process may still take on its machine, or in its container.

The kernel says what is available on the machine: MemAvailable, which counts the page cache that it would give
back. (MemFree does not, and is next to nothing on a machine that has read files for a day.) A control group
may allow less: its limit, or that of a group around it, less what is in use there and cannot be given back.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class _Names(NamedTuple):
    """Of a group's files, and of a line in its memory.stat."""

    limits: tuple[str, ...]
    usage: str
    reclaimable: str


_VERSION_1 = _Names(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = _Names(("memory.max", "memory.high"), "memory.current", "inactive_file")


def available_memory(root: Path = Path("/")) -> int:
    """Bytes. `root` is the folder under which `proc` and `sys` lie."""
    left = [_fields(root / "proc/meminfo")["MemAvailable:"] * 1024]
    left += [limit - used for limit, used in _groups(root)]
    return max(0, min(left))


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """The limit of each control group around this process that has one, and what is used of it, in bytes."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return  # a kernel without control groups
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            folder, names = root / "sys/fs/cgroup", _VERSION_2
        elif "memory" in controllers.split(","):
            folder, names = root / "sys/fs/cgroup/memory", _VERSION_1
        else:
            continue
        group = folder / path.strip("/")
        if not group.is_dir():
            group = folder  # the path is the host's, and the container sees its own group as the first
        while True:
            yield from _limits(group, names)
            if group == folder:
                break
            group = group.parent


def _limits(group: Path, names: _Names) -> Iterator[tuple[int, int]]:
    try:
        used = int((group / names.usage).read_text())
        used -= _fields(group / "memory.stat").get(names.reclaimable, 0)
        found = [(group / name).read_text().strip() for name in names.limits]
    except OSError:
        return  # the root group has no such files
    for limit in found:
        if limit != "max":  # version 1 says 2^63 less a page
            yield int(limit), used


def _fields(path: Path) -> dict[str, int]:
    """Lines of a name, a number and perhaps a unit."""
    return {words[0]: int(words[1]) for line in path.read_text().splitlines() if (words := line.split())}
