"""A child process that runs a module of Quire's: it is started, asked and answered in pickles, and killed.

For code that is trusted but may die or hang: the engine, and validators of the user's. It is no sandbox: the
child may do what its parent may (`rasterize.sandbox` is for hostile bytes). The pixels in a message are
copied by the kernel alone (pickle protocol 5, whose buffers travel behind the pickle). The kernel ends the
child with the thread that started it, which must therefore live as long as the child is needed.
"""

import ctypes
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
END_SECONDS: Final = 10.0  # between the end of a child's connection and that of its process
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15  # linux/prctl.h


class ChildLostError(Exception):
    """The child has ended, or does not take what it is sent. The message says how, as the end of a sentence.

    Example: "its process was killed (SIGKILL), as when memory runs out".
    """


class Wire:
    """One end of a connection on which Python objects travel. One thread may send while another receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, value: object) -> None:
        """OSError if nobody reads it: TimeoutError among them, where the connection has a timeout."""
        buffers: list[pickle.PickleBuffer] = []
        parts: list[Any] = [pickle.dumps(value, protocol=5, buffer_callback=buffers.append)]
        parts += [buffer.raw() for buffer in buffers]
        sizes = [len(part) for part in parts]
        self._connection.sendall(struct.pack(f"<Q{len(sizes)}Q", len(sizes), *sizes))
        for part in parts:
            self._connection.sendall(part)

    def receive(self) -> Any:
        """Waits for it. EOFError when the other end is closed, OSError as from `send`."""
        (count,) = struct.unpack("<Q", self._read(8))
        pickled, *buffers = map(self._read, struct.unpack(f"<{count}Q", self._read(8 * count)))
        return pickle.loads(pickled, buffers=buffers)

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        left = memoryview(data)
        while left:
            count = self._connection.recv_into(left)
            if not count:
                raise EOFError
            left = left[count:]
        return data


class ChildProcess:
    """The parent's side."""

    def __init__(self, module: str, *, seconds: float, environment: Mapping[str, str] | None = None) -> None:
        """Starts it. No message may take more than `seconds` to travel. `environment`: not the parent's."""
        self._connection, theirs = socket.socketpair()
        self._connection.settimeout(seconds)
        self._seconds = seconds
        self._wire = Wire(self._connection)
        self._poll = select.poll()
        self._poll.register(self._connection, select.POLLIN)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), str(os.getpid())],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for the driver, which may want to finish
            )
        self._end = weakref.finalize(self, _end, self._process, [self._connection])

    def send(self, value: object) -> None:
        """Raises ChildLostError."""
        try:
            self._wire.send(value)
        except TimeoutError:
            raise self._hangs() from None
        except OSError:
            raise self._ended() from None

    def receive(self, seconds: float) -> Any:
        """The child's next message, or None after so many seconds. Raises ChildLostError."""
        if not self._poll.poll(1000 * seconds):
            return None
        try:
            return self._wire.receive()
        except TimeoutError:
            raise self._hangs() from None
        except (OSError, EOFError):
            raise self._ended() from None

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._end.alive and self._process.poll() is None

    def kill(self) -> None:
        """Ends it at once, also if it hangs; afterwards its memory is free."""
        self._end()

    def _hangs(self) -> ChildLostError:
        return ChildLostError(f"its process hangs: it took no message in {self._seconds:.0f} s")

    def _ended(self) -> ChildLostError:
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return ChildLostError("its process closed its connection")
        if code == -signal.SIGKILL:
            return ChildLostError("its process was killed (SIGKILL), as when memory runs out")
        if code < 0:
            return ChildLostError(f"its process crashed ({signal.Signals(-code).name})")
        return ChildLostError(f"its process ended with exit code {code}")


def _end(process: "subprocess.Popen[bytes]", connections: Sequence[socket.socket]) -> None:
    process.kill()
    process.wait()
    for connection in connections:
        connection.close()


def join_parent() -> Wire:
    """The child's side, from its command line. It dies with the thread that started it."""
    connection, parent = map(int, sys.argv[1:])
    libc = ctypes.CDLL(None)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) or os.getppid() != parent:
        sys.exit("the parent is gone")
    return Wire(socket.socket(fileno=connection))


def be_called(name: str) -> None:
    """The name of this process in `top` and `ps`, of at most 15 letters. Of use in its first thread alone."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())


def end_now(code: int) -> None:
    """Ends this process without a look at its other threads, which may hang."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
