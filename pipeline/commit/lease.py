"""The lease on an output: one run at a time acquires it, holds it while it works, and releases it at its end.

A run acquires the lease before it reads what the output holds. The log of documents/ says who holds it: each
commit there names its run, and a heartbeat commits to it when nothing else has for HEARTBEAT_SECONDS. A run
that died is replaced at once on its own machine; elsewhere when LEASE_SECONDS have passed without a commit.

Whoever acquires the lease commits to each of the tables first. From then on the logs refuse every commit of
the run that held it before: a run that was taken for dead and goes on ends at its next commit.
"""

import logging
import time
from collections.abc import Mapping
from threading import Event, RLock, Thread

from pipeline.commit.delta_log import Change, DeltaLog, OutputError, is_dead
from pipeline.commit.tables import Table

HEARTBEAT_SECONDS, LEASE_SECONDS = 30.0, 120.0
HOLDER = "documents"  # the table whose log says who holds the output

_log = logging.getLogger(__name__)


class Lease:
    """The right to write to the tables of an output. In a `with` block it is acquired, held and released."""

    def __init__(self, tables: Mapping[str, Table], run_id: str) -> None:
        self._tables = tables
        self._run_id = run_id
        self._root = tables[HOLDER].uri.removesuffix(f"/{HOLDER}")
        self._logs: dict[str, DeltaLog] = {}
        self._lock = RLock()  # the heartbeat comes from a thread of its own
        self._ended = Event()
        self._last = 0.0  # commit to HOLDER
        self._lost: OutputError | None = None

    def __enter__(self) -> "Lease":
        self.acquire()
        Thread(target=self._heartbeat, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Raises ValueError if another run holds the output, or if it cannot be written."""
        self._logs = {name: DeltaLog(table, self._run_id) for name, table in self._tables.items()}
        refuse_if_held(self._logs[HOLDER], self._root)
        try:
            for name in [HOLDER, *(name for name in self._tables if name != HOLDER)]:
                self._commit(name, Change())
        except OutputError as error:
            raise ValueError(str(error)) from error

    def commit(self, name: str, change: Change) -> None:
        """Makes files of one table visible and others invisible, in one step. Raises OutputError."""
        with self._lock:
            if self._lost is not None:
                raise self._lost
            self._commit(name, change)

    def release(self) -> None:
        """The next run may start at once."""
        self._ended.set()
        with self._lock:
            if self._lost is not None:
                return
            self._lost = OutputError(f"{self._root} was left by this run")
            try:
                self._commit(HOLDER, Change(), state="left")
            except OutputError as error:  # not raised: it would hide the error that ended the run
                _log.warning("%s; the next run may have to wait %.0f s", error, LEASE_SECONDS)

    def _heartbeat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS / 10):
            with self._lock:
                if self._lost is not None or time.monotonic() - self._last < HEARTBEAT_SECONDS:
                    continue
                try:
                    self._commit(HOLDER, Change())
                except OutputError as error:
                    self._lost = error

    def _commit(self, name: str, change: Change, state: str = "running") -> None:
        self._logs[name].commit(change, state)
        if name == HOLDER:
            self._last = time.monotonic()


def refuse_if_held(documents: DeltaLog, output: str) -> None:
    """Raises ValueError if another run holds the output of which this is the log of documents/."""
    last = documents.last_run()
    if last is None or last["state"] != "running" or is_dead(last):
        return
    silent = time.time() - last["timestamp"] / 1000
    if silent < LEASE_SECONDS:
        raise ValueError(
            f"output {output} is being written by run {last['run_id']} (process {last['pid']} on "
            f"{last['host']}), which gave a sign of life {silent:.0f} s ago: wait for its end; if it died, "
            f"start again in {LEASE_SECONDS - silent:.0f} s"
        )
