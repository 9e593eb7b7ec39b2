"""What processes that read hostile bytes may do, as data: `confinement` puts a profile into force.

PARSE is for documents, PYTHON for programs that a model wrote. The calls of PARSE were measured with strace,
after the process said that it was ready: on the samples, the real files and the damaged ones of the tests,
and an image of each format and compression, small and large. To these come the calls by which the C library
aborts, and those that it makes in place of reading the clock in memory.
"""

from typing import Final

from pipeline.rasterize.confinement import OWN_PID, Only, Profile

_PROT_EXEC: Final = 4  # linux/mman.h: memory that code can run in
_CLONE_THREAD: Final = 0x10000  # linux/sched.h
_NOT_EXECUTABLE: Final = Only(argument=2, mask=_PROT_EXEC, value=0)

# What every process does that computes, and writes to what is open already.
_COMPUTING: Final[dict[str, Only | None]] = {
    "write": None,
    # Memory.
    "brk": None,
    "mmap": _NOT_EXECUTABLE,
    "munmap": None,
    "mremap": None,
    "mprotect": _NOT_EXECUTABLE,
    "madvise": None,
    "getrandom": None,  # malloc, and Python's hashes
    "futex": None,
    # Signals, of which it can send one to itself alone: abort().
    "rt_sigprocmask": None,
    "rt_sigaction": None,
    "rt_sigreturn": None,
    "restart_syscall": None,
    "getpid": None,
    "gettid": None,
    "tgkill": Only(argument=0, value=OWN_PID),
    "exit_group": None,
    # On machines whose clock cannot be read in memory.
    "clock_gettime": None,
    "gettimeofday": None,
}

PARSE: Final = Profile(
    calls={
        **_COMPUTING,  # it writes to stderr
        # The worker's messages and the replies, on what is open already: no call opens another one.
        "recvfrom": None,
        "sendto": None,
        # Threads of its own: the decoder of HEIC works in one. A process would lack the flag.
        "clone": Only(argument=0, mask=_CLONE_THREAD, value=_CLONE_THREAD),
        "rseq": None,
        "set_robust_list": None,
        "sched_yield": None,
        "exit": None,
    },
    absent=("clone3",),  # its flags lie in memory, where a filter cannot see them: the C library takes clone
)

# A program in Python whose modules are loaded: it computes, and writes to a pipe that is open already.
# HumanEval's solutions make four of these calls (strace). What looks for files is told that there is no call.
PYTHON: Final = Profile(
    calls={**_COMPUTING, "clock_nanosleep": None},
    absent=("openat", "newfstatat", "getcwd"),
)
