"""The supervisor of a Replica: it survives the ranks, and asks again the pages that they lost.

In: groups of any call, and what of them is called off. Out: completions, each once, and what is written of
answers that stream, which after a death is told from its beginning. The engine is in another process, the
only rank or the first of several (`ranks`). The supervisor notes which pages were asked and which are
finished (`retry_queue`), ends the ranks when one of them dies, breaks or hangs, and starts others. If the
supervisor itself dies, Ray starts it again, and Ray Data repeats the calls that were in work.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Event, Thread

from model.engine.request import Group
from pipeline.infer.engine_loop import Abort, Deliver
from pipeline.infer.ranks import EngineBrokenError, Ranks, RanksLostError
from pipeline.infer.retry_queue import RetryQueue

STARTS = 3  # that may fail in a row: then it is not bad luck
# Lives in a row that ended without an answer: then it is the machine, not the pages. A page among many that
# kills costs some ten lives, and each one behind it three.
LIVES = 60
POLL_SECONDS = 0.05  # to wait for a report of rank 0 before looking for new groups

_log = logging.getLogger(__name__)


StartRanks = Callable[[Event], Ranks]  # waits for them, unless the event calls it off; RanksLostError


class Supervisor:
    """Answers in a thread, as an `EngineLoop` does, but in other processes."""

    def __init__(self, start: StartRanks, deliver: Deliver, fail: Callable[[BaseException], None]) -> None:
        """Comes back when the ranks are ready. Raises EngineBrokenError if they cannot be started.

        `start` is called in the supervisor's thread, which lives as long as the ranks.
        """
        self._start_ranks = start
        self._deliver = deliver
        self._fail = fail
        self._queue = RetryQueue()
        self._inbox: SimpleQueue[Sequence[Group] | Abort] = SimpleQueue()
        self._aborted: list[str] = []  # branches that the ranks are asked, and have to be told of
        self._closed = Event()
        self._fruitless = 0  # lives in a row
        self._ready: Future[None] = Future()
        self._thread = Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()
        self._ready.result()

    def submit(self, groups: Sequence[Group]) -> None:
        """Groups whose completions will be delivered."""
        self._inbox.put(groups)

    def abort(self, ids: Sequence[str]) -> None:
        """Branches whose completions are not to be delivered; one that is under way may be."""
        self._inbox.put(Abort(ids))

    def close(self) -> None:
        """Ends the thread and the ranks."""
        self._closed.set()
        self._inbox.put(())
        self._thread.join()

    def _start(self) -> Ranks:
        for start in range(1, STARTS + 1):
            try:
                return self._start_ranks(self._closed)
            except RanksLostError as error:
                if start == STARTS or self._closed.is_set():
                    raise
                _log.warning("the ranks could not be started, and will be again: %s", error)
        raise AssertionError(STARTS)

    def _run(self) -> None:
        try:
            self._ranks = self._start()
        except RanksLostError as error:
            self._ready.set_exception(EngineBrokenError(f"the engine does not start: {error}"))
            return
        except BaseException as error:
            self._ready.set_exception(error)  # every error: `__init__` raises it
            return
        self._ready.set_result(None)
        try:
            while self._take_in():
                try:
                    self._converse()
                except RanksLostError as error:
                    self._replace(error)
        except BaseException as error:
            if not self._closed.is_set():
                self._fail(error)  # every error: nobody may wait any longer
        self._ranks.close()

    def _replace(self, error: RanksLostError) -> None:
        """Ends the ranks, which are lost, and starts others."""
        _log.warning("the ranks are lost, and are started again: %s", error)
        self._deliver(self._queue.lose(error), 0.0, [])
        self._aborted = []
        self._ranks.close()
        self._fruitless += 1
        if self._fruitless >= LIVES:
            raise RanksLostError(f"{LIVES} starts in a row came to no answer, the last one: {error}")
        self._ranks = self._start()

    def _take_in(self) -> bool:
        """Notes the groups that have come; waits for some while nothing else is to do. False: closed."""
        try:
            while not self._closed.is_set():
                message = self._inbox.get(block=self._queue.idle and not self._aborted)
                if isinstance(message, Abort):
                    self._aborted += self._queue.abort(message.ids)
                else:
                    self._queue.add(message)
        except Empty:
            return True
        return False

    def _converse(self) -> None:
        """Asks the next groups, and delivers what was answered."""
        if self._aborted:
            ids, self._aborted = self._aborted, []
            self._ranks.abort(ids)
        if not self._queue.asked:
            self._ranks.check()  # a rank that died while there was nothing to do did not die of a page
        if groups := self._queue.next():
            self._ranks.submit(groups)
        report = self._ranks.take(POLL_SECONDS)
        if report is not None:
            if report.completions or report.progress:
                self._fruitless = 0
            wanted = self._queue.finish(report.completions)
            self._deliver(wanted, report.seconds, report.progress)
