"""One copy of the model, asked from an event loop: groups in, what is written of their answers out, at once.

The Replica of a server. Behind it is the worker of any other Replica: the supervisor of an engine in another
process, which may die. A group that nobody reads on is called off, and frees its place in the engine. After a
death of the engine an answer is written again, and told from its beginning.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from model.engine.request import Completion, Group, Progress
from pipeline.infer.engine_loop import Deliver
from pipeline.infer.ranks import EngineBrokenError

Event = Progress | Completion


class Worker(Protocol):
    """Answers groups, and delivers what it writes from a thread of its own."""

    def submit(self, groups: Sequence[Group]) -> None: ...

    def abort(self, ids: Sequence[str]) -> None: ...

    def close(self) -> None: ...


StartWorker = Callable[[Deliver, Callable[[BaseException], None]], Worker]


class AsyncReplica:
    """Answers that are written side by side. All but making and closing it is called in one event loop."""

    def __init__(self, start_worker: StartWorker, on_broken: Callable[[], None] = lambda: None) -> None:
        """Comes back when the model is loaded. Raises EngineBrokenError.

        `on_broken` is called in the event loop when the worker cannot go on: nothing is answered any more.
        """
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues: dict[str, asyncio.Queue[Event | None]] = {}  # by branch
        self._on_broken = on_broken
        self.broken: str | None = None
        """Why nothing is answered any more, in a sentence."""
        self._worker = start_worker(self._deliver, self._fail)

    @property
    def asked(self) -> int:
        """Branches whose answers are not complete."""
        return len(self._queues)

    def attend(self) -> None:
        """Before anything is asked, in the event loop that will ask."""
        self._loop = asyncio.get_running_loop()
        if self.broken is not None:
            self._on_broken()

    def close(self) -> None:
        """Ends the worker. The event loop still runs."""
        self._worker.close()

    async def ask(self, groups: Sequence[Group]) -> AsyncGenerator[Event, None]:
        """What is written of the groups' answers, and their completions. Close it to call the rest off.

        Branch ids are unique among all that are asked. Raises EngineBrokenError.
        """
        self._check()
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        missing = {branch.id for group in groups for branch in group.branches}
        assert self._queues.keys().isdisjoint(missing), sorted(missing)[:3]
        self._queues |= dict.fromkeys(missing, queue)
        self._worker.submit(groups)
        try:
            while missing:
                event = await queue.get()
                self._check()
                assert event is not None, missing
                if isinstance(event, Completion):
                    missing.remove(event.id)
                    del self._queues[event.id]
                yield event
        finally:
            for id in missing:
                del self._queues[id]
            if missing:
                self._worker.abort(sorted(missing))

    def _deliver(self, done: list[Completion], seconds: float, progress: list[Progress]) -> None:
        events: list[Event] = [*progress, *done]
        if events and self._loop is not None:
            self._loop.call_soon_threadsafe(self._hand_out, events)

    def _hand_out(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.id in self._queues:  # else it was called off
                self._queues[event.id].put_nowait(event)

    def _fail(self, error: BaseException) -> None:
        self.broken = f"the engine broke: {type(error).__name__}: {error}"
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._give_up)

    def _give_up(self) -> None:
        for queue in self._queues.values():
            queue.put_nowait(None)
        self._on_broken()

    def _check(self) -> None:
        if self.broken is not None:
            raise EngineBrokenError(self.broken)
