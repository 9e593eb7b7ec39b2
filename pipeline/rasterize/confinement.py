"""A process gives up what it will not need: files, the network, other processes, and all other system calls.

In: a profile, which is data. Out: nothing; from then on, a call that the profile does not name ends the
process with SIGSYS, and no file can be opened but those that it names. This cannot be undone. It takes three
calls of the kernel: no_new_privs (no set-user-id program helps), Landlock (files; documentation in Linux
under userspace-api/landlock) and seccomp (system calls; userspace-api/seccomp_filter). The bindings on PyPI
are an alpha version for Landlock, and for seccomp need a library that few machines have; so the calls are
made here.

A kernel may lack Landlock or seccomp: `lacking` says so, and the other one is used alone.
"""

import ctypes
import errno
import logging
import os
import platform
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.plan.limits import Limits
from pipeline.rasterize.system_calls import ARCHITECTURES, LANDLOCK, Architecture

_log = logging.getLogger(__name__)

PR_SET_NO_NEW_PRIVS: Final = 38  # linux/prctl.h

# linux/landlock.h: what each version of Landlock can forbid, as bits
_FILES: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK: Final = {4: 3}  # to bind and to connect TCP
_SCOPED: Final = {6: 3}  # abstract sockets, signals to other processes
_EXECUTE, _READ_FILE, _READ_NAMES = 1 << 0, 1 << 2, 1 << 3
# To write, make, shorten, rename and remove files, folders, links and sockets; none is a device or a pipe.
_WRITE: Final = sum(1 << bit for bit in (1, 4, 5, 7, 8, 9, 12, 13, 14))
_VERSION: Final = 1  # a flag of create_ruleset
_PATH_BENEATH: Final = 1

# linux/seccomp.h and linux/filter.h
_SET_FILTER, _IS_ACTION_THERE = 1, 2
# Without the second flag older kernels switch speculation off, which costs a process a tenth and more. That
# protects code from other code in its own process; there is none here.
_ALL_THREADS, _KEEP_SPECULATION = 1, 4
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data


@dataclass(frozen=True, kw_only=True)
class Only:
    """A call is allowed only where these bits of an argument have this value. OWN_PID stands for the pid."""

    argument: int
    mask: int = 0xFFFFFFFF
    value: int


OWN_PID: Final = -1


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a process may do, and nothing else."""

    calls: Mapping[str, Only | None]
    """The system calls, by name, most frequent first."""
    absent: Iterable[str] = ()
    """Calls that are answered ENOSYS, and do nothing: their callers know another way, or do without."""
    readable: Iterable[str] = ()
    """Files, and folders of which everything may be read, if `calls` has a way to open it."""
    executable: Iterable[str] = ()
    """Files that it may become, if `calls` has a way to."""
    writable: Iterable[str] = ()
    """Folders in which it may do what it likes with files."""
    is_deadly: bool = True
    """Whether a call that is not allowed ends the process; else it is refused with EPERM."""


class ConfinementError(Exception):
    """The kernel refused. One sentence."""


def lacking() -> str | None:
    """What this machine lacks of a confinement, for a sentence; None if it has all."""
    lacks = []
    try:
        landlock_version()
    except OSError as error:
        lacks.append(
            f"Landlock ({errno.errorcode.get(error.errno or 0)}; Linux 5.13 has it, where it is enabled)"
        )
    if platform.machine() not in ARCHITECTURES:
        lacks.append(f"seccomp on {platform.machine()} (it is there for {' and '.join(ARCHITECTURES)})")
    elif not has_seccomp():
        lacks.append("seccomp (Linux 4.14 has it)")
    return " and ".join(lacks) or None


def check_sandbox(limits: Limits) -> None:
    """Says once what this machine lacks to confine documents. Raises ValueError if that is refused."""
    lacks = lacking()
    if lacks and limits.sandbox_required:
        raise ValueError(
            f"--require-sandbox: this machine lacks {lacks}; run on another one, or leave the flag out"
        )
    if lacks:
        _log.warning("documents are confined less than they could be: this machine lacks %s", lacks)


def confine(profile: Profile) -> None:
    """Confines this process, as far as `lacking` says that it can be. Raises ConfinementError, OSError.

    Landlock holds for the thread that asks for it: there must be no other.
    """
    if len(os.listdir("/proc/self/task")) > 1:
        raise ConfinementError("a process with several threads cannot be confined")
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    try:
        version = landlock_version()
    except OSError:
        pass  # it lacks it
    else:
        _forbid_files(profile, version)
    if has_seccomp():
        set_filter(assemble(profile, ARCHITECTURES[platform.machine()]))


def assemble(profile: Profile, machine: Architecture) -> bytes:
    """The filter as a program of the kernel's packet filter (BPF): which calls are allowed."""
    otherwise = (_RETURN, 0, 0, _KILL if profile.is_deadly else _ERRNO | errno.EPERM)
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),  # a number means another call in another architecture
        (_JUMP_IF_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for name, only in profile.calls.items():
        if name not in machine.calls:
            continue  # the architecture has no such call
        if only is None:
            program += _if_equal(machine.calls[name], [(_RETURN, 0, 0, _ALLOW)])
            continue
        value = os.getpid() if only.value == OWN_PID else only.value
        # The lower half of an argument: with it begin the eight bytes of both architectures.
        checks = [
            (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * only.argument),
            (_AND, 0, 0, only.mask),
            *_if_equal(value, [(_RETURN, 0, 0, _ALLOW)]),
            otherwise,
        ]
        program += _if_equal(machine.calls[name], checks)
    for name in profile.absent:
        program += _if_equal(machine.calls[name], [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)])
    program.append(otherwise)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


Instruction = tuple[int, int, int, int]  # code, instructions to skip if true and if false, operand


def _if_equal(value: int, then: list[Instruction]) -> list[Instruction]:
    return [(_JUMP_IF_EQUAL, 0, len(then), value), *then]


def set_filter(program: bytes) -> None:
    """Sets a filter for this process, beside those that it has. Raises ConfinementError, OSError."""
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    pointer = ctypes.create_string_buffer(described, len(described))
    machine = ARCHITECTURES[platform.machine()]
    try:
        refused = _system(machine.seccomp, _SET_FILTER, _ALL_THREADS | _KEEP_SPECULATION, pointer)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        refused = _system(machine.seccomp, _SET_FILTER, _ALL_THREADS, pointer)  # Linux before 4.17
    if refused:
        raise ConfinementError(f"the filter of system calls could not be set in thread {refused}")


def has_seccomp() -> bool:
    """Whether a filter of system calls can be set here."""
    machine = ARCHITECTURES.get(platform.machine())
    if machine is None:
        return False
    action = ctypes.c_uint32(_KILL)
    try:
        _system(machine.seccomp, _IS_ACTION_THERE, 0, ctypes.byref(action))
    except OSError:
        return False
    return True


def landlock_version() -> int:
    """Raises OSError: ENOSYS where the kernel has none, EOPNOTSUPP where it is not enabled."""
    return _system(LANDLOCK["create_ruleset"], None, 0, _VERSION)


def _forbid_files(profile: Profile, version: int) -> None:
    handled = [
        max((bits for since, bits in known.items() if since <= version), default=0)
        for known in (_FILES, _NETWORK, _SCOPED)
    ]
    while not handled[-1]:  # an older version knows a shorter structure
        handled.pop()
    attributes = struct.pack(f"={len(handled)}Q", *handled)
    rules = _system(LANDLOCK["create_ruleset"], attributes, len(attributes), 0)
    try:
        for paths, rights in (
            (profile.readable, _READ_FILE | _READ_NAMES),
            (profile.executable, _EXECUTE | _READ_FILE),
            (profile.writable, _WRITE | _READ_FILE | _READ_NAMES),
        ):
            for path in paths:
                _allow(rules, path, rights & handled[0])
        _system(LANDLOCK["restrict_self"], rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= ~_READ_NAMES  # a file has none
        _system(LANDLOCK["add_rule"], rules, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _system(number: int, *arguments: object) -> int:
    """A system call. Raises OSError."""
    return _call("syscall", number, *arguments)


def _call(name: str, *arguments: object) -> int:
    words = (ctypes.c_long(value) if isinstance(value, int) else value for value in arguments)
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype = ctypes.c_long
    result: int = function(*words)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
