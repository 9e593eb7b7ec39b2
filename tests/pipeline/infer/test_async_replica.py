"""A Replica in an event loop: what is written comes at once, what nobody reads is called off."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

import pytest

from model.engine.request import Branch, Completion, Group, Progress
from pipeline.infer.async_replica import AsyncReplica, Event
from pipeline.infer.engine_loop import Deliver
from pipeline.infer.ranks import EngineBrokenError
from tests.pipeline.seats import completion


class Scripted:
    """A worker that a test has deliver."""

    def __init__(self, deliver: Deliver, fail: Callable[[BaseException], None]) -> None:
        self.deliver, self.fail = deliver, fail
        self.asked: list[str] = []
        self.aborted: list[str] = []
        self.closed = False

    def submit(self, groups: Sequence[Group]) -> None:
        self.asked += [branch.id for group in groups for branch in group.branches]

    def abort(self, ids: Sequence[str]) -> None:
        self.aborted += ids

    def close(self) -> None:
        self.closed = True


def make(on_broken: Callable[[], None] = lambda: None) -> tuple[AsyncReplica, Scripted]:
    workers: list[Scripted] = []

    def start(deliver: Deliver, fail: Callable[[BaseException], None]) -> Scripted:
        workers.append(Scripted(deliver, fail))
        return workers[0]

    return AsyncReplica(start, on_broken), workers[0]


def group(name: str, branches: int = 1) -> Group:
    asked = [Branch(id=f"{name}.{number}", ids=[1], max_new_tokens=9) for number in range(branches)]
    return Group(id=name, prefix_ids=[1], images=[], branches=asked, max_side=1)


def progress(id: str) -> Progress:
    return Progress(id=id, start=0, token_ids=[7], logprobs=[-1.0])


def test_each_reader_gets_its_own_events_in_order() -> None:
    async def read(replica: AsyncReplica, *groups: Group) -> list[Event]:
        return [event async for event in replica.ask(groups)]

    async def main() -> None:
        replica, worker = make()
        replica.attend()
        readers = [
            asyncio.create_task(read(replica, group("a", 2), group("b"))),
            asyncio.create_task(read(replica, group("c"))),
        ]
        await asyncio.sleep(0)
        assert worker.asked == ["a.0", "a.1", "b.0", "c.0"]
        assert replica.asked == 4
        done = {id: completion(id) for id in worker.asked}
        await asyncio.to_thread(worker.deliver, [done["c.0"]], 0.1, [progress("a.1")])
        await asyncio.to_thread(worker.deliver, [done["b.0"], done["a.1"], done["a.0"]], 0.1, [])
        assert await readers[0] == [progress("a.1"), done["b.0"], done["a.1"], done["a.0"]]
        assert await readers[1] == [done["c.0"]]
        assert (replica.asked, worker.aborted) == (0, [])

    asyncio.run(main())


def test_what_nobody_reads_on_is_called_off() -> None:
    async def main() -> None:
        replica, worker = make()
        replica.attend()
        async with aclosing(replica.ask([group("a", 3)])) as events:
            first = asyncio.create_task(anext(events))
            await asyncio.sleep(0)
            worker.deliver([completion("a.1")], 0.1, [])
            assert isinstance(await first, Completion)
        assert worker.aborted == ["a.0", "a.2"]
        assert replica.asked == 0
        worker.deliver([completion("a.0")], 0.1, [progress("a.2")])  # they were under way
        await asyncio.sleep(0)

    asyncio.run(main())


def test_a_worker_that_breaks_ends_all_that_waits_and_all_that_comes() -> None:
    async def main() -> None:
        told: list[bool] = []
        replica, worker = make(lambda: told.append(True))
        replica.attend()
        waiting = asyncio.create_task(anext(replica.ask([group("a")])))
        await asyncio.sleep(0)
        await asyncio.to_thread(worker.fail, OSError("the device is gone"))
        with pytest.raises(EngineBrokenError, match="the engine broke: OSError: the device is gone"):
            await waiting
        with pytest.raises(EngineBrokenError):
            await anext(replica.ask([group("b")]))
        assert (told, worker.asked) == ([True], ["a.0"])
        replica.attend()
        assert told == [True, True]  # also where it broke before anybody was there
        replica.close()
        assert worker.closed

    asyncio.run(main())
