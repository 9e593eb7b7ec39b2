"""An engine in a thread of its own: groups come in at any time, and may be called off; what is written of
answers that stream goes out step by step, and completions as they are finished.

The thread steps the engine while anything is pending, and sleeps otherwise. No other thread touches the
engine.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

from model.engine.request import Completion, Engine, Group, Progress

# Completions, the seconds that the step took, and what it wrote of the answers that stream.
Deliver = Callable[[list[Completion], float, list[Progress]], None]


@dataclass(frozen=True)
class Abort:
    """Branches whose answers nobody wants any more."""

    ids: Sequence[str]


class EngineLoop:
    """Steps the engine, in its thread."""

    def __init__(self, engine: Engine, deliver: Deliver, fail: Callable[[BaseException], None]) -> None:
        """`deliver` is called after each step; `fail` once, if the engine breaks: nothing follows it."""
        self._engine = engine
        self._deliver = deliver
        self._fail = fail
        self._inbox: SimpleQueue[Sequence[Group] | Abort | None] = SimpleQueue()
        Thread(target=self._run, name="engine", daemon=True).start()

    def submit(self, groups: Sequence[Group]) -> None:
        """Groups for the next step."""
        self._inbox.put(groups)

    def abort(self, ids: Sequence[str]) -> None:
        """Calls branches off before the next step. Those that are complete are ignored."""
        self._inbox.put(Abort(ids))

    def close(self) -> None:
        """Ends the thread after the step that it is in."""
        self._inbox.put(None)

    def _run(self) -> None:
        try:
            while self._take_in():
                started = time.perf_counter()
                completions = self._engine.step()
                seconds = time.perf_counter() - started
                self._deliver(completions, seconds, self._engine.progress())
        except BaseException as error:
            # Whatever breaks the engine, even SystemExit: nobody may wait for it any longer.
            self._fail(error)

    def _take_in(self) -> bool:
        """Submits the groups that have come; waits for some while the engine is idle. False: closed."""
        try:
            while (message := self._inbox.get(block=not self._engine.pending)) is not None:
                if isinstance(message, Abort):
                    for id in message.ids:
                        self._engine.abort(id)
                else:
                    for group in message:
                        self._engine.submit(group)
        except Empty:
            return True
        return False
