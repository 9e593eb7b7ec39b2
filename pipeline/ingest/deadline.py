"""A read that may never return, as on a mount whose server is gone, ends after some time all the same.

In: a function that reads. Out: its result, or its error, or TimeoutError. The function runs in a thread of
its own, since the kernel lets nobody out of such a read; a thread that hangs is left behind, and goes with
the process. The caller itself waits where signals reach it.
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

    def work() -> None:
        try:
            outcome.put((read(beat), None))
        except BaseException as error:  # every error: it is raised again where somebody waits
            outcome.put((None, error))

    Thread(target=work, name="reading", daemon=True).start()
    while (left := moved + READ_SECONDS - time.monotonic()) > 0:
        try:
            result, error = outcome.get(timeout=left)
        except Empty:
            continue  # it may have moved
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # without an error it is the result
    raise TimeoutError(f"nothing came for {READ_SECONDS:g} s")
