"""The numbers of Linux's system calls: of those that a profile names, in each architecture that is known.

From the kernel's headers: asm/unistd_64.h of x86, asm-generic/unistd.h, which aarch64 has, and linux/audit.h.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One of the architectures, as `platform.machine` names it."""

    audit: int
    """The AUDIT_ARCH number by which a filter knows it."""
    seccomp: int
    """The number of seccomp itself."""
    calls: Mapping[str, int]


LANDLOCK: Final = {"create_ruleset": 444, "add_rule": 445, "restrict_self": 446}  # the same everywhere

ARCHITECTURES: Final = {
    "x86_64": Architecture(
        audit=0xC000003E,
        seccomp=317,
        calls={
            "write": 1,
            "mmap": 9,
            "mprotect": 10,
            "munmap": 11,
            "brk": 12,
            "rt_sigaction": 13,
            "rt_sigprocmask": 14,
            "rt_sigreturn": 15,
            "sched_yield": 24,
            "mremap": 25,
            "madvise": 28,
            "getpid": 39,
            "sendto": 44,
            "recvfrom": 45,
            "clone": 56,
            "exit": 60,
            "getcwd": 79,
            "gettimeofday": 96,
            "gettid": 186,
            "futex": 202,
            "restart_syscall": 219,
            "clock_gettime": 228,
            "clock_nanosleep": 230,
            "exit_group": 231,
            "tgkill": 234,
            "openat": 257,
            "newfstatat": 262,
            "set_robust_list": 273,
            "getrandom": 318,
            "rseq": 334,
            "clone3": 435,
        },
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        seccomp=277,
        calls={
            "getcwd": 17,
            "openat": 56,
            "write": 64,
            "newfstatat": 79,
            "exit": 93,
            "exit_group": 94,
            "futex": 98,
            "set_robust_list": 99,
            "clock_gettime": 113,
            "clock_nanosleep": 115,
            "sched_yield": 124,
            "restart_syscall": 128,
            "tgkill": 131,
            "rt_sigaction": 134,
            "rt_sigprocmask": 135,
            "rt_sigreturn": 139,
            "gettimeofday": 169,
            "getpid": 172,
            "gettid": 178,
            "sendto": 206,
            "recvfrom": 207,
            "brk": 214,
            "munmap": 215,
            "mremap": 216,
            "clone": 220,
            "mmap": 222,
            "mprotect": 226,
            "madvise": 233,
            "getrandom": 278,
            "rseq": 293,
            "clone3": 435,
        },
    ),
}
