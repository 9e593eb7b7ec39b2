"""What docs/security.md says of the sandbox is tried; and a filter passes what its profile names alone."""

import errno
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest

from pipeline.plan.limits import Limits
from pipeline.rasterize import confinement
from pipeline.rasterize.confinement import (
    OWN_PID,
    ConfinementError,
    Profile,
    assemble,
    check_sandbox,
    confine,
    lacking,
)
from pipeline.rasterize.profiles import PARSE, PYTHON, converting
from pipeline.rasterize.system_calls import ARCHITECTURES, Architecture
from tests.pipeline.rasterize.attempts import SECRET

ROOT: Final = Path(__file__).resolve().parents[3]
NOBODY: Final = 65534
KILLED, REFUSED, ALLOWED = 0x80000000, 0x00050000, 0x7FFF0000

FILES = (
    "read the worker's environment",
    *("read a file", "write a file", "list a folder", "make a folder"),
    *("rename", "unlink", "link", "shorten a file"),
)
BY_LANDLOCK_ALONE = dict.fromkeys(FILES, "EACCES") | {
    "ask about a file": "done",  # Landlock knows no such right
    "change a file's mode": "done",
    "connect by TCP": "EACCES",  # since Linux 6.7
    "connect to a named socket": "EPERM",  # this one and signals since Linux 6.12
    "send by UDP": "done",
    "execute a program": "EACCES",
    "start a process": "done",
    "signal another process": "EPERM",
    "signal its worker": "EPERM",
    "trace another process": "EPERM",
    "read another process's memory": "EPERM",
    "get hold of another process": "done",
    "make memory executable": "done",
}


@pytest.fixture(scope="module", params=["root", "user"])
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "root" and os.getuid():
        pytest.skip("only root can try what root can")
    user = NOBODY if request.param == "user" and not os.getuid() else os.getuid()
    name, _, value = SECRET.decode().partition("=")
    command = [sys.executable, "-m", "tests.pipeline.rasterize.attempts", str(user)]
    ran = subprocess.run(
        command, cwd=ROOT, env={**os.environ, name: value}, capture_output=True, timeout=300, check=True
    )
    outcomes: dict[str, Any] = json.loads(ran.stdout)
    return outcomes


@pytest.mark.processes
def test_without_confinement_each_attempt_succeeds(found: dict[str, Any]) -> None:
    unconfined = found["unconfined"]
    unconfined.pop("lacks")
    assert unconfined.pop("execute a program") == "exit code 0"  # it was replaced by the program
    assert set(unconfined.values()) == {"done"}, unconfined


@pytest.mark.processes
@pytest.mark.parametrize("machine", ["whole", "landlock"])
def test_seccomp_kills_at_each_attempt_with_landlock_and_without(found: dict[str, Any], machine: str) -> None:
    outcomes = dict(found[machine])
    lacks = outcomes.pop("lacks")
    assert outcomes == dict.fromkeys(BY_LANDLOCK_ALONE, "SIGSYS")
    assert (lacks == lacking()) if machine == "whole" else lacks.startswith("Landlock (ENOSYS; Linux 5.13")


@pytest.mark.processes
@pytest.mark.skipif(lacking() is not None, reason=f"this machine lacks {lacking()}")
def test_landlock_alone_refuses_files_and_what_newer_kernels_know(found: dict[str, Any]) -> None:
    outcomes = dict(found["seccomp"])
    assert outcomes.pop("lacks") == "seccomp (Linux 4.14 has it)"
    version = confinement.landlock_version()
    expected = dict(BY_LANDLOCK_ALONE)
    if version < 6:
        expected |= dict.fromkeys(expected.keys() & {name for name in expected if "signal" in name}, "done")
        expected["connect to a named socket"] = "done"
    if version < 4:
        expected["connect by TCP"] = "done"
    if version < 3:
        expected["shorten a file"] = "done"
    assert outcomes == expected


@pytest.mark.processes
@pytest.mark.skipif(lacking() is not None, reason=f"this machine lacks {lacking()}")
@pytest.mark.parametrize("user", [0, NOBODY])
def test_libreoffice_has_its_own_folder_and_nobody_else(tmp_path: Path, user: int) -> None:
    if user != os.getuid() and os.getuid():
        pytest.skip("only root can become another user")
    scratch = Path(tempfile.mkdtemp())  # below folders that each user may enter
    command = [sys.executable, "-m", "tests.pipeline.rasterize.office_attempts", str(user), str(scratch)]
    name, _, value = SECRET.decode().partition("=")
    ran = subprocess.run(
        command, cwd=ROOT, env={**os.environ, name: value}, capture_output=True, timeout=300, check=True
    )
    outcomes = json.loads(ran.stdout)
    can = {name for name, outcome in outcomes.items() if outcome == "done"}
    assert can == {
        *("use its folder", "have threads", "read its libraries and fonts"),
        *("make memory executable", "ask about a file"),
    }
    assert set(outcomes.values()) == {"done", "EACCES", "EPERM"}
    assert {outcomes[name] for name in FILES} <= {"EACCES", "EPERM"}
    assert outcomes["execute a program"] == "EACCES"
    scratch.rmdir()


def test_a_process_with_threads_is_not_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", lambda path: ["1", "2"])
    with pytest.raises(ConfinementError, match="a process with several threads cannot be confined"):
        confine(PARSE)


def judged(program: bytes, audit: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel would do, which runs a program of this small part of BPF."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *(arguments + (0,) * 6)[:6])
    at, held = 0, 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        if code == 0x20:
            (held,) = struct.unpack_from("=I", data, operand)
        elif code == 0x54:
            held &= operand
        elif code == 0x15:
            at += if_true if held == operand else if_false
        else:
            assert code == 0x06, code
            return int(operand)


@pytest.mark.parametrize("profile", [PARSE, PYTHON], ids=["parse", "python"])
@pytest.mark.parametrize("machine", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_a_filter_lets_through_what_its_profile_names(machine: Architecture, profile: Profile) -> None:
    program = assemble(profile, machine)
    names = dict.fromkeys(range(600), "unnamed") | {number: name for name, number in machine.calls.items()}
    for number, name in names.items():
        verdict = judged(program, machine.audit, number)
        if name in profile.absent:
            assert verdict == REFUSED | errno.ENOSYS
        elif name in profile.calls and (profile.calls[name] is None or name in ("mmap", "mprotect")):
            assert verdict == ALLOWED, name
        else:  # those of which an argument must have a value, which is not 0, too
            assert verdict == KILLED, name


@pytest.mark.parametrize("machine", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_a_filter_looks_at_arguments(machine: Architecture) -> None:
    program, calls = assemble(PARSE, machine), machine.calls
    cases = [
        ("mmap", (0, 4096, 3), ALLOWED),  # to be read and written
        ("mmap", (0, 4096, 5), KILLED),  # executed
        ("mmap", (0, 4096, 5 | 1 << 32), KILLED),
        ("mprotect", (0, 4096, 4), KILLED),
        ("clone", (0x3D0F00,), ALLOWED),  # pthread_create
        ("clone", (signal.SIGCHLD,), KILLED),  # fork
        ("tgkill", (os.getpid(), 1, 6), ALLOWED),
        ("tgkill", (os.getppid(), 1, 6), KILLED),
    ]
    for name, arguments, verdict in cases:
        assert judged(program, machine.audit, calls[name], arguments) == verdict, (name, arguments)


def test_a_filter_kills_at_calls_of_another_architecture() -> None:
    machine, other = ARCHITECTURES["x86_64"], ARCHITECTURES["aarch64"]
    program = assemble(PARSE, machine)
    i386 = 0x40000003
    for audit in (other.audit, i386):
        assert {judged(program, audit, number) for number in range(600)} == {KILLED}
    x32 = 0x40000000  # a bit of the number, in the same architecture
    assert {judged(program, machine.audit, x32 | number) for number in range(600)} == {KILLED}


def test_each_call_of_a_profile_is_known() -> None:
    profiles = (PARSE, PYTHON, converting("/usr/lib", "/tmp"))
    assert [len(profile.calls) for profile in profiles] == [26, 20, 99]  # as docs/security.md says
    named = {name for profile in profiles for name in (*profile.calls, *profile.absent)}
    assert ARCHITECTURES["x86_64"].calls.keys() == named
    replaced = set("open stat lstat poll access pipe select dup2 rename mkdir rmdir unlink readlink".split())
    assert ARCHITECTURES["aarch64"].calls.keys() == named - replaced - {"arch_prctl"}
    assert any(only is not None and only.value == OWN_PID for only in PARSE.calls.values())


def test_a_machine_without_a_part_of_the_sandbox_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(confinement, "lacking", lambda: "Landlock (ENOSYS)")
    with caplog.at_level(logging.WARNING):
        check_sandbox(Limits())
    assert caplog.messages == [
        "documents are confined less than they could be: this machine lacks Landlock (ENOSYS)"
    ]
    with pytest.raises(ValueError, match=r"--require-sandbox: this machine lacks Landlock .ENOSYS.; run on"):
        check_sandbox(Limits(sandbox_required=True))


def test_a_machine_that_has_all_of_it_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(confinement, "lacking", lambda: None)
    check_sandbox(Limits(sandbox_required=True))
    assert not caplog.messages
