"""What a document may try that has taken LibreOffice over: all attempts in one process, with its profile.

python -m tests.pipeline.rasterize.office_attempts USER SCRATCH (a number, a folder) prints one object of
JSON: of each attempt "done", or the error that it met.
"""

import errno
import fcntl
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from pipeline.rasterize.confinement import confine
from pipeline.rasterize.profiles import converting
from tests.pipeline.rasterize.attempts import PR_SET_DUMPABLE, attempts, libc

PR_SET_PDEATHSIG: Final = 1
INSTALLATION: Final = Path("/usr/lib")  # of a program that is not there: `converting` takes no notice


def send_to_a_named_socket(address: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"secret", address)


def have_another_signalled(victim: int) -> None:
    read, _ = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETOWN, victim)


def use(scratch: Path) -> None:
    """All that LibreOffice does with its folder."""
    (scratch / "folder").mkdir()
    (scratch / "folder" / "a").write_bytes(b"a")
    (scratch / "folder" / "a").rename(scratch / "b")
    assert (scratch / "b").read_bytes() == b"a"
    (scratch / "b").write_bytes(b"")
    (scratch / "b").unlink()
    (scratch / "folder").rmdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(scratch / "socket"))
    (scratch / "socket").unlink()


def have_a_thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def outcome(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except RuntimeError as error:
        return str(error)
    return "done"


def main(user: int, scratch: Path) -> None:
    """Becomes the user, is confined, and tries everything."""
    if user != os.getuid():
        os.chown(scratch, user, user)
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        libc("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
    folder = Path(tempfile.mkdtemp(dir=scratch.parent if os.access(scratch.parent, os.W_OK) else None))
    (folder / "there").write_bytes(b"secret")
    (folder / "program").symlink_to("/bin/true")
    watched, held = os.pipe()
    if not (victim := os.fork()):
        os.close(held)
        os.read(watched, 1)
        os._exit(0)
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as named:
        abstract = f"\0quire-{os.getpid()}"
        named.bind(abstract)
        named.listen()
        tries = attempts(folder, victim, tcp.getsockname(), abstract) | {
            "execute a program": partial(os.execv, folder / "program", ["program"]),
            "send to a named socket": partial(send_to_a_named_socket, abstract),
            "have another process signalled": partial(have_another_signalled, victim),
            "outlive its worker": partial(libc, "prctl", PR_SET_PDEATHSIG, 0, 0, 0, 0),
            "limit another process": partial(libc, "prlimit", victim, 0, None, None),
            "read its libraries and fonts": partial(os.listdir, "/usr/lib"),
            "use its folder": partial(use, scratch),
            "have threads": have_a_thread,
        }
        confine(converting(str(INSTALLATION), str(scratch)))
        print(json.dumps({name: outcome(attempt) for name, attempt in tries.items()}), flush=True)
    os._exit(0)  # the other process ends with the pipe


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
