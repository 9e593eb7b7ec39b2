"""Ray's death noticed in time: a job whose Ray is gone commits what has arrived, and ends in a sentence.

Ray's own code ends such a process without a word, and without a commit: 15 s after the death of the raylet
on its machine, 60 s after that of the head's store (GCS). Whether they live, the kernel knows: their sockets
answer even while they are too busy to.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread, Timer
from typing import Final

import ray

from jobs.run.last_words import end_lost
from jobs.run.ray_session import HEAD_SECONDS, RayLostError, silence_of
from pipeline.ray_internals import raylet_socket

LOOK_SECONDS: Final = 1.0
LAST_SECONDS: Final = 15.0  # to commit and let go of Ray, whose libraries may wait for the head all the same
CONNECT_SECONDS: Final = 5.0  # a machine without power does not even refuse


@contextmanager
def lifeline() -> Iterator[None]:
    """While Ray is connected, and SIGTERM raises KeyboardInterrupt. Raises RayLostError if Ray has died.

    Where the job waits for a Ray that is gone, SIGTERM ends its waiting.
    """
    line = _Lifeline()
    watch = Thread(target=line.watch, name="lifeline", daemon=True)
    watch.start()
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        line.ended.set()
        watch.join()
        if lost := line.lost or line.look():  # Ray's libraries may have found it out first
            raise RayLostError(lost) from error
        raise
    finally:
        line.ended.set()
        watch.join()
        line.close()


class _Lifeline:
    def __init__(self) -> None:
        self.ended = Event()
        self.lost = ""
        self._address = ray.get_runtime_context().gcs_address
        self._path = raylet_socket()
        self._raylet: socket.socket | None = None

    def watch(self) -> None:
        """Until it ends, or Ray is lost."""
        alive = time.monotonic()  # when the head was, for sure
        while not self.ended.wait(LOOK_SECONDS):
            found = self.look()
            if not found:
                alive = time.monotonic()
            elif self._is_raylet_gone() or time.monotonic() - alive > HEAD_SECONDS:
                self.lost = found
                last = Timer(LAST_SECONDS, end_lost, (found,))
                last.daemon = True
                last.start()
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def close(self) -> None:
        """Looks no more."""
        if self._raylet:
            self._raylet.close()

    def look(self) -> str:
        """What is gone, if anything."""
        if self._is_raylet_gone():
            return "Ray's process on this machine, the raylet, has died"
        return f"Ray's head at {self._address} is gone" if silence_of(self._address, CONNECT_SECONDS) else ""

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
