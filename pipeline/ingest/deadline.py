"""A read that may never return, as on a mount whose server is gone, ends after some time all the same.

In: a function that reads. Out: its result, or its error, or TimeoutError. The function runs in another
thread, since the kernel lets nobody out of such a read; a thread that hangs is left behind, and goes with the
process. One that is done waits for the next read: to start one costs as much as to read a small file. The
caller itself waits where signals reach it.
"""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, TypeVar

READ_SECONDS: Final = 120.0  # without a byte: a tape robot or a cold archive may need a minute

Result = TypeVar("Result")
Beat = Callable[[], None]


def in_time(read: Callable[[Beat], Result]) -> Result:
    """What `read` returns or raises. It calls its argument whenever something has come.

    Raises TimeoutError where that takes longer than READ_SECONDS.
    """
    outcome: SimpleQueue[tuple[Result, None] | tuple[None, BaseException]] = SimpleQueue()
    moved = time.monotonic()

    def beat() -> None:
        nonlocal moved
        moved = time.monotonic()

    inbox = _reader()

    def work() -> None:
        found: tuple[Result, None] | tuple[None, BaseException]
        try:
            found = read(beat), None
        except BaseException as error:  # every error: it is raised again where somebody waits
            found = None, error
        _idle.append(inbox)  # before somebody reads again
        outcome.put(found)

    inbox.put(work)
    while (left := moved + READ_SECONDS - time.monotonic()) > 0:
        try:
            result, error = outcome.get(timeout=left)
        except Empty:
            continue  # it may have moved
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # without an error it is the result
    raise TimeoutError(f"nothing came for {READ_SECONDS:g} s")


_Inbox = SimpleQueue[Callable[[], None]]
_idle: list[_Inbox] = []  # of the threads that are done


def _reader() -> _Inbox:
    """Where a thread waits for work."""
    try:
        return _idle.pop()
    except IndexError:
        inbox = _Inbox()
        Thread(target=_do, args=(inbox,), name="reading", daemon=True).start()
        return inbox


def _do(inbox: _Inbox) -> None:
    while True:
        inbox.get()()
