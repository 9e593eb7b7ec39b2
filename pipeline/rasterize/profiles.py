"""What processes that read hostile bytes may do, as data: `confinement` puts a profile into force.

PARSE is for documents, PYTHON for programs that a model wrote, `converting` for LibreOffice. The calls of
PARSE were measured with strace, after the process said that it was ready: on the samples, the real files and
the damaged ones of the tests, and an image of each format and compression, small and large. To these come the
calls by which the C library aborts, and those that it makes in place of reading the clock in memory.
"""

import os
from collections.abc import Mapping
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

_AF_UNIX, _PR_SET_NAME = 1, 15  # linux/socket.h, linux/prctl.h
_ON_OTHERS: Final = 8  # a bit of the commands of fcntl that have signals sent, to whomever

# LibreOffice's, whose threads are many and whose versions differ: measured with strace on 52 files of eleven
# formats, and widened by the calls that do the same. What is missing is refused, and it goes on: it would
# start programs (gpg, paperconf), and talk to a name service, a desktop and a second LibreOffice.
_CONVERTING: Final[Mapping[str, Only | None]] = {
    **_COMPUTING,
    "mmap": None,  # it loads its libraries itself
    "mprotect": None,
    # Files, which Landlock tells from one another.
    **dict.fromkeys(
        "newfstatat openat close pread64 read statfs readlink lseek getdents64 pwrite64 unlink mkdir"
        " faccessat2 rename rmdir fstat stat lstat statx open readlinkat unlinkat mkdirat renameat"
        " renameat2 ftruncate fallocate fsync fdatasync fadvise64 flock fstatfs readv writev umask"
        " getcwd".split()
    ),
    # Where it may not write to /tmp, its socket is made in OSL_SOCKET_PATH.
    "access": Only(argument=1, mask=os.W_OK, value=0),
    "faccessat": Only(argument=2, mask=os.W_OK, value=0),
    "fcntl": Only(argument=1, mask=_ON_OTHERS, value=0),
    **dict.fromkeys("dup dup2 dup3 pipe pipe2 eventfd2 poll ppoll select pselect6".split()),
    # It listens for a second LibreOffice. Nothing can be connected, and nothing sent.
    "socket": Only(argument=0, value=_AF_UNIX),
    "socketpair": Only(argument=0, value=_AF_UNIX),
    **dict.fromkeys("bind listen accept shutdown".split()),
    # It begins as a program, which Landlock names, and has threads; it can start no process.
    "execve": None,
    **dict.fromkeys("arch_prctl set_tid_address rseq set_robust_list sigaltstack exit membarrier".split()),
    "clone": Only(argument=0, mask=_CLONE_THREAD, value=_CLONE_THREAD),
    "prctl": Only(argument=0, value=_PR_SET_NAME),
    "prlimit64": Only(argument=0, value=0),  # of its own
    # What there is.
    **dict.fromkeys(
        "getuid geteuid getgid getegid getppid uname sysinfo sched_getaffinity sched_yield times getrusage"
        " clock_getres clock_nanosleep nanosleep".split()
    ),
}

# Its libraries, fonts and settings are in these, where they exist; no document and no home is.
_SYSTEM: Final = (
    *("/usr/lib", "/usr/lib64", "/usr/share", "/usr/local/share/fonts", "/lib", "/lib64", "/etc/fonts"),
    *(
        "/etc/libreoffice",
        "/var/spool/libreoffice",
        "/etc/ld.so.cache",
        "/var/cache/fontconfig",
        "/dev/null",
        "/dev/urandom",
    ),
)
# The program that starts programs, where x86_64 and aarch64 have it: the kernel executes it as well.
_LOADERS: Final = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")


def converting(installation: str, scratch: str) -> Profile:
    """What LibreOffice may do, whose program `soffice.bin` lies in the folder `program` of `installation`."""
    return Profile(
        calls=_CONVERTING,
        absent=("clone3",),
        readable=(*filter(os.path.exists, _SYSTEM), installation),
        executable=filter(
            os.path.exists,
            (os.path.join(installation, "program", "soffice.bin"), *map(os.path.realpath, _LOADERS)),
        ),
        writable=(scratch,),
        is_deadly=False,
    )
