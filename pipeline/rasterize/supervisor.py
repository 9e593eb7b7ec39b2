"""The supervisor of a sandboxed child process: starts it, asks it, watches it, kills it at its limits.

In: requests. Out: replies of the form that was asked for, or the reason why the child died; one that replies
anything else is killed, and counts as crashed. The limit of time is on the seconds that the child computes,
so that a busy machine changes no outcome. The limit of memory is on the memory in use (RSS). A limit of
address space (RLIMIT_AS) would be wrong: MuPDF leaves out of a page the parts that it finds no memory for,
and the page would count as drawn. The kernel ends the child with its worker, however that dies.
"""

import fcntl
import math
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from pipeline.child_process import ROOT
from pipeline.plan.limits import Limits
from pipeline.rasterize.ipc import Closed, Malformed, Message, Reply, send
from pipeline.rasterize.replies import READY, Form, check

PROGRAM: Final = "pipeline.rasterize.sandbox_main"
START_SECONDS: Final = 120  # it takes 0.4; after that something is wrong with the machine
END_SECONDS: Final = 10  # for a child that has closed its end to be gone
MOST_WORDS: Final = 500  # characters of what a child says last
WATCH_SECONDS: Final = 0.02  # between two looks at a busy child
PATIENCE: Final = 10  # times page_seconds that it may last on a machine that gives it little to compute
# The rest of the environment stays here: credentials are none of a hostile document's business.
PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR")
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Died(Exception):
    """The child is dead. `reason` is crash, killed, memory or timeout; `how` ends a sentence on the page."""

    def __init__(self, reason: str, how: str) -> None:
        super().__init__(reason, how)
        self.reason = reason
        self.how = how


class SharedBuffer:
    """Memory of both processes: the child writes pixels to it, and its worker reads them there."""

    def __init__(self, size: int) -> None:
        self.file = os.memfd_create("quire-pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        weakref.finalize(self, os.close, self.file)
        os.ftruncate(self.file, size)  # takes memory only where something was written
        # Where a child had made it shorter, its worker would die of SIGBUS as it reads a page.
        fcntl.fcntl(self.file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.pixels = np.frombuffer(mmap.mmap(self.file, size), np.uint8)


class Child:
    """A process that runs `sandbox_main`. Raises RuntimeError if it cannot start, Died if it is killed.

    `lacks` names what its machine lacks to confine it, if anything.
    """

    def __init__(self, limits: Limits, buffer: SharedBuffer) -> None:
        self._limits = limits
        self._connection, theirs = socket.socketpair()
        self._noise, noise = os.pipe()  # the child's stderr: why it crashed, and libraries' warnings
        for end in (self._noise, noise):
            os.set_blocking(end, False)  # writes beyond a full pipe are dropped
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", PROGRAM),
                    *map(str, (theirs.fileno(), buffer.file, os.getpid(), limits.page_bytes)),
                ],
                cwd=ROOT,
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ}
                # A second arena would be measured by a file of /proc, which the child cannot open.
                | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=noise,
                pass_fds=(theirs.fileno(), buffer.file),
                start_new_session=True,  # Ctrl-C is for the driver, which may want to finish
            )
        os.close(noise)
        self._usage = os.open(f"/proc/{self._process.pid}/stat", os.O_RDONLY)
        self._end = weakref.finalize(self, _end, self._process, self._connection, (self._noise, self._usage))
        self._poll = select.poll()
        self._poll.register(self._connection, select.POLLIN)
        self._held = 0  # bytes of its document
        self.computed = 0.0
        """Seconds, for the last request."""
        self._connection.settimeout(START_SECONDS)
        try:
            self.lacks: str | None = self._reply(READY, START_SECONDS, START_SECONDS)["lacks"]
        except TimeoutError:
            raise self._put_down("timeout", "waited for a process that did not start") from None
        except Closed:
            died = self._post_mortem()
            if died.reason == "killed":
                raise died from None
            raise RuntimeError(f"the process that opens documents does not start: {died.how}") from None
        if self.lacks and limits.sandbox_required:
            self.kill()
            raise RuntimeError(f"--require-sandbox: {socket.gethostname()} lacks {self.lacks}")

    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._end.alive and self._process.poll() is None

    def kill(self) -> None:
        """Ends the child at once."""
        self._end()

    def tell(self, message: Message) -> None:
        """Sends a message that has no reply. If the child is dead, the next `ask` says so."""
        try:
            send(self._connection, message)
        except Closed:
            return
        except TimeoutError:
            self.kill()  # it does not read what it is sent

    def ask(self, message: Message, form: Form, document: bytes = b"", left: float = math.inf) -> Message:
        """The reply, which has this form or is a failure. Raises Died, also after `left` seconds."""
        self._last_words()  # read and dropped: they are of earlier requests
        self._held = len(document) or self._held
        patience = PATIENCE * self._limits.page_seconds
        self._connection.settimeout(patience)
        try:
            send(self._connection, message, document)
            return self._reply(form, min(left, self._limits.page_seconds), patience)
        except Closed:
            raise self._post_mortem() from None
        except TimeoutError:
            raise self._put_down("timeout", "took too long, though it computed little") from None
        except KeyboardInterrupt:
            self.kill()  # its reply would be read as that to the next request
            raise

    def _reply(self, form: Form, most_seconds: float, patience: float) -> Message:
        """Watches the child until its reply is whole. Raises Closed, Died, TimeoutError."""
        started, before = time.monotonic(), usage_of(self._usage)[0]
        limits, coming = self._limits, Reply()
        while True:
            try:
                if (
                    self._poll.poll(1000 * WATCH_SECONDS)
                    and (reply := coming.take(self._connection)) is not None
                ):
                    check(reply, form)
                    self.computed = usage_of(self._usage)[0] - before
                    return reply
            except Malformed as error:
                how = f"made the process that opened it send a reply {error}"
                raise self._put_down("crash", how) from error
            seconds, used = usage_of(self._usage)
            self.computed = seconds - before
            if self.computed > most_seconds:
                how = f"took more than {limits.page_seconds:g} s (--page-timeout)"
                if most_seconds < limits.page_seconds:
                    how = f"took more than was left of its document's {limits.document_exceeded}"
                raise self._put_down("timeout", how)
            if used > limits.page_bytes + 2 * self._held:
                raise self._put_down("memory", limits.memory_exceeded)
            if time.monotonic() - started > patience:
                raise TimeoutError

    def _put_down(self, reason: str, how: str) -> Died:
        self.kill()
        return Died(reason, how)

    def _post_mortem(self) -> Died:
        """Why it closed the connection."""
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return self._put_down("crash", "made the process that opened it close its end, and go on")
        said = self._last_words()
        self.kill()
        if code == -signal.SIGKILL:
            return Died("killed", "could not be finished: its process was killed, as when memory runs out")
        ended = signal_name(-code) if code < 0 else f"exit code {code}"
        return Died("crash", f"crashed the process that opened it ({ended}{said and ': '}{said})")

    def _last_words(self) -> str:
        """The last line on its stderr that has not been read, if any."""
        with suppress(BlockingIOError):
            lines = os.read(self._noise, 2**16).decode(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")[:MOST_WORDS]
        return ""


def _end(process: "subprocess.Popen[bytes]", connection: socket.socket, files: Sequence[int]) -> None:
    process.kill()
    process.wait()
    connection.close()
    for file in files:
        os.close(file)


def signal_name(number: int) -> str:
    """Example: 11 is SIGSEGV. Most of the real-time signals have no name in Python."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def usage_of(stat: int) -> tuple[float, int]:
    """Seconds that a process has computed, and the bytes of memory that it uses, from its /proc/PID/stat."""
    fields = os.pread(stat, 2048, 0).rpartition(b")")[2].split()  # from the third on: man 5 proc
    return (int(fields[11]) + int(fields[12])) * _TICK, int(fields[21]) * _PAGE
