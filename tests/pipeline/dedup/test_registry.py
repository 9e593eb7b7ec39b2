"""Who is asked a prompt: the first item that claims it, whatever is repeated and whoever dies."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup.registry import Registry, SharedRegistry, own

KEYS = [f"{number:032x}" for number in range(5)]


def test_the_first_claim_holds_and_may_be_repeated() -> None:
    registry = Registry()
    assert registry.claim([(KEYS[0], KEYS[3])]) == [KEYS[3]]
    assert registry.claim([(KEYS[0], KEYS[4]), (KEYS[1], KEYS[4])]) == [KEYS[3], KEYS[4]]
    assert registry.claim([(KEYS[0], KEYS[3])]) == [KEYS[3]]
    assert registry.claim([(KEYS[2], KEYS[2]), (KEYS[2], KEYS[1])]) == [KEYS[2]] * 2, "in one call"
    assert registry.claim([]) == []


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS))))
def test_claims_agree_with_a_dictionary(pairs: list[tuple[str, str]]) -> None:
    registry, expected = Registry(), dict[str, str]()
    for pair in pairs:
        assert registry.claim([pair]) == [expected.setdefault(*pair)]


def test_without_claims_every_item_is_asked() -> None:
    assert own([(KEYS[0], KEYS[1]), (KEYS[0], KEYS[2])]) == [KEYS[1], KEYS[2]]


def test_claims_leave_no_file_behind_and_little_in_memory(tmp_path: Path) -> None:
    program = """
import os, resource
from pipeline.dedup.registry import Registry
registry = Registry()
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number in range(50):
    keys = [os.urandom(16).hex() for _ in range(10_000)]
    registry.note([(key, key) for key in keys])
open_files = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if int(fd) > 2 and
              os.path.exists(f"/proc/self/fd/{fd}")]
print(len(registry.claim([(key, "0" * 32) for key in keys])), os.listdir("."))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""
    root = Path(__file__).parents[3]
    environment = {"SQLITE_TMPDIR": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    found, kibibytes = done.stdout.splitlines()
    assert found == "10000 []"
    assert int(kibibytes) < 40 * 1024  # a dictionary of half a million pairs takes 60 MiB, this 25


@ray.remote
def claim_in_a_task(claim: object, pairs: list[tuple[str, str]]) -> object:
    return claim(pairs)  # type: ignore[operator]  # a Claim, after its journey


@pytest.mark.processes
def test_a_death_leaves_every_item_to_itself_and_is_said_once(
    one_cpu_ray: None, caplog: pytest.LogCaptureFixture
) -> None:
    registry = SharedRegistry()
    registry.note([(KEYS[0], KEYS[1])])
    assert ray.get(claim_in_a_task.remote(registry.claim, [(KEYS[0], KEYS[2])])) == [KEYS[1]]
    registry.actor.__ray_terminate__.remote()
    pairs = [(KEYS[0], KEYS[2]), (KEYS[3], KEYS[3])]
    for _ in range(2):
        assert ray.get(claim_in_a_task.remote(registry.claim, pairs)) == [KEYS[2], KEYS[3]]
    with caplog.at_level(logging.WARNING):
        registry.close()
    assert [record.getMessage() for record in caplog.records] == [
        "the process that knows which pages are identical has died: since then each was asked itself"
    ]


@pytest.mark.processes
def test_claims_that_end_with_their_run_say_nothing(
    one_cpu_ray: None, caplog: pytest.LogCaptureFixture
) -> None:
    registry = SharedRegistry()
    registry.close()
    assert registry.claim([(KEYS[0], KEYS[2])]) == [KEYS[2]]
    assert caplog.records == []
