"""A job whose Ray has died commits the results that have arrived, and ends with a sentence that says so.

Ray alone would end the job's process without a word and without a commit: 15 s after the death of the
raylet, Ray's process on this machine, and 60 s after the death of the head's store (GCS). Quire watches:

- `watchdog`, while the job runs, looks once a second whether both are alive. Their sockets tell, since the
  kernel answers there even while the process is too busy to.
- `watch_connecting`, while the job connects, looks whether the head is.
- `standby` is for a job that talks to the raylet just when that dies, which Ray ends on the spot. Another
  process then prints the last sentence.
"""

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Final
from urllib.parse import urlsplit

import psutil

from jobs.run.terminal import say_error

HEAD_SECONDS: Final = 30.0  # for which the head may be away: one with a store that survives it starts again
LOOK_SECONDS: Final = 1.0  # between two looks
ANSWER_SECONDS: Final = 5.0  # for the head to answer: a machine without power does not even refuse
LAST_SECONDS: Final = 15.0  # to commit and to disconnect from Ray, whose libraries may wait for the head

# Reads three lines, or meets the end of a process that had no time to write the last one. Then it ends the
# agents of a private Ray, with which Ray ends: they alone would wait a minute for its head.
_STANDBY = """
read -r logs
read -r agents
read -r end || {
    for agent in $agents; do
        pid=${agent%:*}
        [ "$(cut -d ' ' -f 22 /proc/$pid/stat 2>/dev/null)" = ${agent#*:} ] && kill -9 $pid
    done
    echo "$0${logs:+; the logs of Ray are in $logs}" >&2
}
"""
_standbys: "list[Standby]" = []  # tests have several: one Ray lasts, another starts
_lasts: list[Timer] = []  # of jobs that are to end


class RayLostError(RuntimeError):
    """Ray does not start, or has died under the job. One sentence."""


@contextmanager
def watchdog() -> Iterator[None]:
    """While Ray is connected, and SIGTERM raises KeyboardInterrupt. Raises RayLostError if Ray has died.

    A job that waits for a Ray that is gone is woken by SIGTERM.
    """
    dog = _Watchdog()
    thread = Thread(target=dog.watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        dog.ended.set()
        thread.join()
        if lost := dog.lost or dog.look():  # Ray's libraries may have found it out first
            raise RayLostError(lost) from error
        raise
    finally:
        dog.ended.set()
        thread.join()
        dog.close()


class _Watchdog:
    def __init__(self) -> None:
        import ray

        from pipeline.ray_internals import raylet_socket

        self.ended = Event()
        self.lost = ""
        self._address = ray.get_runtime_context().gcs_address
        self._path = raylet_socket()
        self._raylet: socket.socket | None = None

    def watch(self) -> None:
        """Looks until the job ends, or Ray is lost."""
        answered = time.monotonic()
        while not self.ended.wait(LOOK_SECONDS):
            found = self.look()
            if not found:
                answered = time.monotonic()
            elif self._is_raylet_gone() or time.monotonic() - answered > HEAD_SECONDS:
                self.lost = found
                last = Timer(LAST_SECONDS, end_process, (found,))
                last.daemon = True
                last.start()
                _lasts.append(last)
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def close(self) -> None:
        """Looks no more."""
        if self._raylet:
            self._raylet.close()

    def look(self) -> str:
        """A sentence about the process of Ray's that is gone, or nothing."""
        if self._is_raylet_gone():
            return "Ray's process on this machine, the raylet, has died"
        error = connection_error(self._address, ANSWER_SECONDS)
        return f"Ray's head at {self._address} is gone" if error else ""

    def _is_raylet_gone(self) -> bool:
        # One connection that is kept: each would be a line in the raylet's log.
        if self._raylet and not _is_closed(self._raylet):
            return False
        self.close()
        self._raylet = socket.socket(socket.AF_UNIX)
        try:
            self._raylet.connect(self._path)
        except OSError:
            return True
        return False


def _is_closed(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    with suppress(OSError):
        return bool(poll.poll(0))
    return True


@contextmanager
def watch_connecting(address: str, seconds: float) -> Iterator[None]:
    """While the job connects to the head at `address`, which answers within so many seconds or is away.

    Ray itself would wait for a head that is gone, and then end the process with a stack.
    """
    connected = Event()

    def watch() -> None:
        answered = time.monotonic()
        while not connected.wait(LOOK_SECONDS):
            if not connection_error(address, seconds):
                answered = time.monotonic()
            elif time.monotonic() - answered > HEAD_SECONDS:
                end_process(f"Ray's head at {address} is gone")  # nothing has been asked yet

    Thread(target=watch, name="connecting", daemon=True).start()
    try:
        yield
    finally:
        connected.set()


def connection_error(address: str, seconds: float) -> Exception | None:
    """The error of a connection to HOST:PORT, for which there are so many seconds; None if somebody answers.

    Other forms of an address (auto, ray://...) are not tried: None.
    """
    try:
        place = urlsplit(f"//{address}")
        if "://" not in address and place.hostname is not None and place.port is not None:
            socket.create_connection((place.hostname, place.port), seconds).close()
    except (OSError, ValueError) as error:
        return error
    return None


class Standby:
    """Another process, which prints the last sentence if this one is ended before it can."""

    def __init__(self) -> None:
        lost = "this process was killed, or ended by Ray, whose own on this machine, the raylet, has died"
        # Not in this process's group, of which a terminal asks each to stop.
        self._process = subprocess.Popen(
            ["sh", "-c", _STANDBY, _last_sentence(lost)], stdin=subprocess.PIPE, start_new_session=True
        )

    def note(self, logs: Path, agents: Sequence[psutil.Process]) -> None:
        """Of a private Ray: the folder of its logs, and the processes to end with this one."""
        assert self._process.stdin is not None, "it is a pipe"
        named = " ".join(f"{agent.pid}:{_start_of(agent.pid)}" for agent in agents)
        with suppress(BrokenPipeError):  # somebody has ended it
            self._process.stdin.write(f"{logs}\n{named}\n".encode())
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """It is not needed any more."""
        self._process.communicate(b"\n\n\n")


def _start_of(pid: int) -> str:
    """When the process started, in the kernel's ticks: a later one may have its number. Empty: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


@contextmanager
def standby() -> Iterator[Standby]:
    """While another process stands by."""
    process = Standby()
    _standbys.append(process)
    try:
        yield process
    finally:
        _standbys.remove(process)
        process.dismiss()
        while _lasts:  # the job is off its Ray: a webhook is told yet, and a program of Python's goes on
            _lasts.pop().cancel()


def end_process(lost: str) -> None:
    """Prints the last sentence and ends this process, whatever it waits for."""
    for process in _standbys:
        process.dismiss()
    say_error(_last_sentence(lost))
    os._exit(1)


def _last_sentence(lost: str) -> str:
    return f"broken off: {lost}; the same command continues"
