"""An engine in a thread of its own: groups come in at any time, completions go out as they are finished.

The thread steps the engine while anything is pending, and sleeps otherwise. No other thread touches the
engine.
"""

import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread

from model.engine.request import Completion, Engine, Group

Deliver = Callable[[list[Completion], float], None]  # completions, and the seconds that the step took


class EngineLoop:
    """Steps the engine, in its thread."""

    def __init__(self, engine: Engine, deliver: Deliver, fail: Callable[[BaseException], None]) -> None:
        """`deliver` is called after each step; `fail` once, if the engine breaks: nothing follows it."""
        self._engine = engine
        self._deliver = deliver
        self._fail = fail
        self._inbox: SimpleQueue[Sequence[Group] | None] = SimpleQueue()
        Thread(target=self._run, name="engine", daemon=True).start()

    def submit(self, groups: Sequence[Group]) -> None:
        """Groups for the next step."""
        self._inbox.put(groups)

    def close(self) -> None:
        """Ends the thread after the step that it is in."""
        self._inbox.put(None)

    def _run(self) -> None:
        try:
            while self._take_in():
                started = time.perf_counter()
                completions = self._engine.step()
                self._deliver(completions, time.perf_counter() - started)
        except BaseException as error:
            # Whatever breaks the engine, even SystemExit: nobody may wait for it any longer.
            self._fail(error)

    def _take_in(self) -> bool:
        """Submits the groups that have come; waits for some while the engine is idle. False: closed."""
        try:
            while (groups := self._inbox.get(block=not self._engine.pending)) is not None:
                for group in groups:
                    self._engine.submit(group)
        except Empty:
            return True
        return False
