"""Who is asked a prompt: the first item that claims it, whatever is repeated and whoever dies."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup.registry import Claims, SharedClaims, own

KEYS = [f"{number:032x}" for number in range(5)]


def test_the_first_claim_holds_and_may_be_repeated() -> None:
    claims = Claims()
    assert claims.claim([(KEYS[0], KEYS[3])]) == [KEYS[3]]
    assert claims.claim([(KEYS[0], KEYS[4]), (KEYS[1], KEYS[4])]) == [KEYS[3], KEYS[4]]
    assert claims.claim([(KEYS[0], KEYS[3])]) == [KEYS[3]]
    assert claims.claim([(KEYS[2], KEYS[2]), (KEYS[2], KEYS[1])]) == [KEYS[2]] * 2, "in one call"
    assert claims.claim([]) == []


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS))))
def test_claims_agree_with_a_dictionary(pairs: list[tuple[str, str]]) -> None:
    claims, expected = Claims(), dict[str, str]()
    for pair in pairs:
        assert claims.claim([pair]) == [expected.setdefault(*pair)]


def test_without_claims_every_item_is_asked() -> None:
    assert own([(KEYS[0], KEYS[1]), (KEYS[0], KEYS[2])]) == [KEYS[1], KEYS[2]]


def test_claims_leave_no_file_behind_and_little_in_memory(tmp_path: Path) -> None:
    program = """
import os, resource
from pipeline.dedup.registry import Claims
claims = Claims()
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number in range(150):
    keys = [os.urandom(16).hex() for _ in range(10_000)]
    claims.note([(key, key) for key in keys])
open_files = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if int(fd) > 2 and
              os.path.exists(f"/proc/self/fd/{fd}")]
print(len(claims.claim([(key, "0" * 32) for key in keys])), os.listdir("."))
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
    assert int(kibibytes) < 110 * 1024  # a dictionary of 1.5 million pairs takes 300 MiB


@ray.remote
def claim_in_a_task(claim: object, pairs: list[tuple[str, str]]) -> object:
    return claim(pairs)  # type: ignore[operator]  # a Claim, after its journey


@pytest.mark.processes
def test_a_death_leaves_every_item_to_itself_and_is_said_once(
    one_cpu_ray: None, caplog: pytest.LogCaptureFixture
) -> None:
    claims = SharedClaims()
    claims.note([(KEYS[0], KEYS[1])])
    assert ray.get(claim_in_a_task.remote(claims.claim, [(KEYS[0], KEYS[2])])) == [KEYS[1]]
    claims.actor.__ray_terminate__.remote()
    pairs = [(KEYS[0], KEYS[2]), (KEYS[3], KEYS[3])]
    for _ in range(2):
        assert ray.get(claim_in_a_task.remote(claims.claim, pairs)) == [KEYS[2], KEYS[3]]
    with caplog.at_level(logging.WARNING):
        claims.close()
    assert [record.getMessage() for record in caplog.records] == [
        "the process that knows which pages are identical has died: since then each was asked itself"
    ]


@pytest.mark.processes
def test_claims_that_end_with_their_run_say_nothing(
    one_cpu_ray: None, caplog: pytest.LogCaptureFixture
) -> None:
    claims = SharedClaims()
    claims.close()
    assert claims.claim([(KEYS[0], KEYS[2])]) == [KEYS[2]]
    assert caplog.records == []
