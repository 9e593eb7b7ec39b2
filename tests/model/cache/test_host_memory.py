"""What a machine and its containers leave, from files as kernels write them."""

from pathlib import Path

import pytest

from model.cache.host_memory import available_memory

MEMINFO = """MemTotal:       32000000 kB
MemFree:          100000 kB
MemAvailable:   20000000 kB
HugePages_Total:       0
"""
MACHINE = 20_000_000 * 1024


def machine(root: Path, cgroup: str | None, files: dict[str, str]) -> Path:
    contents = {"proc/meminfo": MEMINFO} | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    if cgroup is not None:
        contents["proc/self/cgroup"] = cgroup
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def group(limit: str, used: int, inactive: int = 0, high: str = "max") -> dict[str, str]:
    stat = f"anon 12\ninactive_file {inactive}\nactive_file 7\n"
    return {
        "memory.max": f"{limit}\n",
        "memory.high": f"{high}\n",
        "memory.current": f"{used}\n",
        "memory.stat": stat,
    }


def under(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in files.items()}


def old(limit: int, used: int, inactive: int) -> dict[str, str]:
    return {
        "memory.limit_in_bytes": f"{limit}\n",
        "memory.usage_in_bytes": f"{used}\n",
        "memory.stat": f"cache 5\ntotal_inactive_file {inactive}\n",
    }


UNLIMITED = 9223372036854771712  # as version 1 says it
V1 = "12:memory:/docker/ab\n11:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        (None, {}, MACHINE),
        ("0::/\n", {"memory.stat": "anon 1\n"}, MACHINE),  # the root group has no limits
        ("0::/\n", group("max", 900), MACHINE),
        ("0::/\n", group("1000", 900, inactive=300), 400),  # a container
        ("0::/\n", group("1000", 900, high="950"), 50),
        ("0::/\n", group("1000", 1100), 0),
        ("0::/a/b\n", under("a", group("1000", 900)) | under("a/b", group("max", 10)), 100),
        ("0::/a/b\n", under("a", group("5000", 900)) | under("a/b", group("100", 10)), 90),
        ("0::/../gone\n", group("1000", 1), 999),  # of the host, from inside a container
        (V1, under("memory/docker/ab", old(1000, 800, 100)), 300),
        (V1, under("memory", old(1000, 800, 100)), 300),
        (V1, under("memory/docker/ab", old(UNLIMITED, 800, 100)), MACHINE),
        (V1 + "0::/\n", under("memory/docker/ab", old(1000, 800, 0)), 200),
    ],
)
def test_the_least_of_machine_and_groups_counts(
    cgroup: str | None, files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert available_memory(machine(tmp_path, cgroup, files)) == expected


def test_this_machine_has_some() -> None:
    assert available_memory() > 1 << 20
