"""What a document may try that has taken its process over: each attempt by itself, in `sandbox_main` itself.

python -m tests.pipeline.rasterize.attempts USER (a number) prints one object of JSON: for each machine what
it says that it lacks, and of each attempt "done", the error that it met, or the signal that ended it. On the
machine `unconfined` nothing is confined; `landlock` and `seccomp` lack that: its calls are answered ENOSYS.
"""

import ctypes
import errno
import json
import mmap
import os
import platform
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from pipeline.ingest.file_types import DocumentError
from pipeline.plan.limits import MIB
from pipeline.rasterize import sandbox_main
from pipeline.rasterize.confinement import set_filter
from pipeline.rasterize.ipc import Closed, receive, send
from pipeline.rasterize.preload import preload
from pipeline.rasterize.system_calls import ARCHITECTURES, LANDLOCK

SECRET: Final = b"AWS_SECRET_ACCESS_KEY=of the worker"
LIBC: Final = ctypes.CDLL(None, use_errno=True)
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PTRACE_SEIZE = 4, 38, 0x4206
PROCESS_VM_READV: Final = {"x86_64": 310, "aarch64": 270}[platform.machine()]
PIDFD_OPEN: Final = 434
MACHINES: Final = ("unconfined", "whole", "landlock", "seccomp")
READABLE: Final = ctypes.create_string_buffer(SECRET)  # at the same address in all processes of this program


def libc(name: str, *arguments: Any) -> int:
    """A function of the C library. Raises OSError."""
    result: int = getattr(LIBC, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def read_the_environment_of_the_worker() -> None:
    assert SECRET in Path(f"/proc/{os.getppid()}/environ").read_bytes()


def read_a_file(folder: Path) -> None:
    (folder / "there").read_bytes()


def write_a_file(folder: Path) -> None:
    (folder / "new").touch()


def read_memory(victim: int) -> None:
    found = ctypes.create_string_buffer(len(SECRET))
    here, there = (struct.pack("PN", ctypes.addressof(text), len(SECRET)) for text in (found, READABLE))
    one, none = ctypes.c_long(1), ctypes.c_long(0)
    libc("syscall", PROCESS_VM_READV, victim, here, one, there, one, none)
    assert found.raw == SECRET


def connect(family: socket.AddressFamily, kind: socket.SocketKind, address: Any) -> None:
    with socket.socket(family, kind) as connection:
        connection.connect(address)


def send_by_udp(address: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"secret", address)


def fork() -> None:
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)


def execute(folder: Path) -> None:
    os.set_inheritable(1, False)
    os.execv(folder / "program", ["program"])


def attempts(folder: Path, victim: int, tcp: Any, abstract: str) -> dict[str, Callable[[], Any]]:
    """By name. `victim` is a process of the same user."""
    there, read_and_execute = folder / "there", mmap.PROT_READ | mmap.PROT_EXEC
    return {
        "read the worker's environment": read_the_environment_of_the_worker,
        "read a file": partial(read_a_file, folder),
        "write a file": partial(write_a_file, folder),
        "list a folder": partial(os.listdir, folder),
        "make a folder": partial(os.mkdir, folder / "new"),
        "rename": partial(os.rename, there, folder / "new"),
        "unlink": partial(os.unlink, there),
        "link": partial(os.link, there, folder / "new"),
        "shorten a file": partial(os.truncate, there, 0),
        "ask about a file": partial(os.stat, there),
        "change a file's mode": partial(os.chmod, there, 0o777),
        "connect by TCP": partial(connect, socket.AF_INET, socket.SOCK_STREAM, tcp),
        "connect to a named socket": partial(connect, socket.AF_UNIX, socket.SOCK_STREAM, abstract),
        "send by UDP": partial(send_by_udp, tcp),
        "execute a program": partial(execute, folder),
        "start a process": fork,
        "signal another process": partial(os.kill, victim, 0),
        "signal its worker": partial(os.kill, os.getppid(), 0),
        "trace another process": partial(libc, "ptrace", PTRACE_SEIZE, victim, None, None),
        "read another process's memory": partial(read_memory, victim),
        "get hold of another process": partial(libc, "syscall", PIDFD_OPEN, victim, 0),
        "make memory executable": partial(mmap.mmap, -1, 4096, prot=read_and_execute),
    }


def answer_enosys(number: int) -> None:
    """From now on this call of the kernel is one that it lacks."""
    program = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | errno.ENOSYS)]
    libc("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    set_filter(b"".join(struct.pack("=HBBI", *line) for line in [*program, (0x06, 0, 0, 0x7FFF0000)]))


def taken_over(
    machine: str, theirs: socket.socket, buffer: int, parent: int, attempt: Callable[[], Any]
) -> None:
    """Is `sandbox_main`, but that the document does what it likes as it is opened."""
    if machine == "unconfined":
        vars(sandbox_main)["confine"] = lambda profile: None
    elif machine == "landlock":
        answer_enosys(LANDLOCK["create_ruleset"])
    elif machine == "seccomp":
        answer_enosys(ARCHITECTURES[platform.machine()].seccomp)

    def open_document(data: bytes, **options: Any) -> Any:
        try:
            attempt()
        except OSError as error:
            name = errno.errorcode[error.errno or 0]
            raise DocumentError("refused", name) from error
        return SimpleNamespace(media_type="done", page_count=1)

    vars(sandbox_main)["open_document"] = open_document
    sandbox_main.main(theirs.detach(), buffer, parent, 2048 * MIB)


def outcome(machine: str, name: str, tcp: Any, abstract: str) -> tuple[str, str | None]:
    """What came of an attempt, and what the process said that it lacks."""
    buffer = os.memfd_create("pixels")
    os.ftruncate(buffer, 4096)
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "there").write_bytes(b"secret")
        (folder / "program").symlink_to("/bin/true")
        if not (child := os.fork()):
            ours.close()
            watched, held = os.pipe()
            if not (victim := os.fork()):
                theirs.close()
                os.close(held)
                os.read(watched, 1)  # until the other end is closed: that process is gone
                os._exit(0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            attempt = attempts(folder, victim, tcp, abstract)[name]
            taken_over(machine, theirs, buffer, parent, attempt)
        theirs.close()
        os.close(buffer)
        replies = ours.makefile("rb")
        lacks = receive(replies)[0]["lacks"]
        send(ours, {"do": "open", "name": "x", "passwords": []})
        try:
            reply = receive(replies)[0]
        except Closed:
            reply = {}
        replies.close()
        ours.close()
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return signal.Signals(-code).name, lacks
    return reply.get("message") or reply.get("media_type") or f"exit code {code}", lacks


def main(user: int) -> None:
    """Becomes the user, and tries everything on each machine."""
    preload()
    if user != os.getuid():
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        libc("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)  # as of a process that was this user's from the start
    found: dict[str, Any] = {machine: {} for machine in MACHINES}
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as named:
        abstract = f"\0quire-{os.getpid()}"
        named.bind(abstract)
        named.listen()
        for name in attempts(Path(), 0, None, ""):
            for machine, outcomes in found.items():
                outcomes[name], outcomes["lacks"] = outcome(machine, name, tcp.getsockname(), abstract)
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
