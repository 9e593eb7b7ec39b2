"""The supervisor of a Replica of several ranks: it survives them, and asks again the pages they lost.

In: groups of any call. Out: completions, each once. The engine is in rank 0. The supervisor notes which pages
were asked and which are finished (`retry_queue`), ends the ranks when one of them dies or hangs, and starts
others, wherever there is room. If the supervisor itself dies, Ray starts it again: it first removes the ranks
of its former life, and Ray Data repeats the calls that were in work.
"""

import logging
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread

import ray

from model.engine.request import Group
from pipeline.infer.engine_loop import Deliver
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.infer.retry_queue import RetryQueue
from pipeline.infer.tp_group import RanksLostError, TPGroup, remove_group

STARTS = 3  # that may fail in a row: then it is not bad luck
POLL_SECONDS = 0.05  # to wait for a report of rank 0 before looking for new groups

_log = logging.getLogger(__name__)


class TPSupervisor:
    """Answers in a thread, as an `EngineLoop` does, but with the GPUs of other processes."""

    def __init__(self, config: ReplicaConfig, deliver: Deliver, fail: Callable[[Exception], None]) -> None:
        """Comes back when the ranks are ready. Raises RanksLostError if they cannot be started."""
        self._config = config
        self._deliver = deliver
        self._fail = fail
        self._queue = RetryQueue()
        self._inbox: SimpleQueue[Sequence[Group]] = SimpleQueue()
        self._closed = Event()
        self._name = f"{config.plan.run_id}-{ray.get_runtime_context().get_actor_id()}"
        remove_group(self._name)  # of a former life
        self._ranks = self._start()
        self._thread = Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def submit(self, groups: Sequence[Group]) -> None:
        """Groups whose completions will be delivered."""
        self._inbox.put(groups)

    def close(self) -> None:
        """Ends the thread and the ranks."""
        self._closed.set()
        self._inbox.put(())
        self._thread.join()

    def _start(self) -> TPGroup:
        for start in range(1, STARTS + 1):
            try:
                return TPGroup(self._name, self._config, self._closed)
            except RanksLostError as error:
                if start == STARTS or self._closed.is_set():
                    raise
                _log.warning("the ranks could not be started, and will be again: %s", error)
        raise AssertionError(STARTS)

    def _run(self) -> None:
        try:
            while self._take_in():
                try:
                    self._converse()
                except RanksLostError as error:
                    _log.warning("the ranks are lost, and are started again: %s", error)
                    self._deliver(self._queue.lose(error), 0.0)
                    self._ranks.close()
                    self._ranks = self._start()
        except Exception as error:
            if not self._closed.is_set():
                self._fail(error)  # every error: nobody may wait any longer
        self._ranks.close()

    def _take_in(self) -> bool:
        """Notes the groups that have come; waits for some while nothing else is to do. False: closed."""
        try:
            while not self._closed.is_set():
                self._queue.add(self._inbox.get(block=self._queue.idle))
        except Empty:
            return True
        return False

    def _converse(self) -> None:
        """Asks the next groups, and delivers what was answered."""
        if not self._queue.asked:
            self._ranks.check()  # a rank that died while there was nothing to do did not die of a page
        if groups := self._queue.next():
            self._ranks.submit(groups)
        report = self._ranks.take(POLL_SECONDS)
        if report is not None:
            self._queue.finish(report.completions)
            self._deliver(report.completions, report.seconds)
