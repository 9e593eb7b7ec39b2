"""Ctrl-C and SIGTERM for a job.

While it runs, the first Ctrl-C lets tasks finish, the second and SIGTERM stop at once. Before and behind
that, both stop at once.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from types import FrameType

from jobs.run.terminal import say


@contextmanager
def sigterm_stops() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does, unless the program has an answer of its own to it.

    Only in the main thread, where alone handlers are set.
    """
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def graceful(finish: Callable[[], None], stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """The first SIGINT calls `finish`, the second `stop`, and raises KeyboardInterrupt.

    SIGTERM does as the second at once: `ray job stop` kills three seconds later.
    """
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked or number == signal.SIGTERM:
            stop()
            raise KeyboardInterrupt
        asked = True
        say("finishing what runs; Ctrl-C again stops now")
        Thread(target=finish, daemon=True).start()  # the handler may have come amid a call of Ray's

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
