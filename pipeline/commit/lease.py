"""The lease on an output: one run at a time acquires it, holds it while it works, and releases it at its end.

A run acquires the lease before it reads what the output holds. The log of documents/ says who holds it: each
commit there names its run. When nothing was committed there for HEARTBEAT_SECONDS, a heartbeat says that the
run is alive (`heartbeat`), from the moment in which the lease is acquired. A run that died is replaced: at
once on its own machine, elsewhere when LEASE_SECONDS have passed without a sign of life.

Whoever acquires the lease commits to each of the tables first. From then on the logs refuse every commit of
the run that held it before: a run that was taken for dead and goes on ends at its next commit.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, RLock, Thread

from pipeline.commit.delta_log import Change, DeltaLog, TakenOverError, is_dead
from pipeline.commit.heartbeat import last_heartbeat, write_heartbeat
from pipeline.commit.tables import OutputError, Table, extend_table
from pipeline.commit.uninterrupted import uninterrupted
from pipeline.ingest.delta import plain

HEARTBEAT_SECONDS, LEASE_SECONDS = 30.0, 120.0
HOLDER = "documents"  # the table whose log says who holds the output
FENCES = 5  # attempts to commit first: a run that was taken for dead may commit once more to each table

_log = logging.getLogger(__name__)


class Lease:
    """The right to write to the tables of an output. In a `with` block it is acquired, held and released."""

    def __init__(self, tables: Mapping[str, Table], run_id: str) -> None:
        self._tables = tables
        self._run_id = run_id
        self._root = tables[HOLDER].uri.removesuffix(f"/{HOLDER}")
        self._logs: dict[str, DeltaLog] = {}
        # The heartbeat comes from a thread of its own, and does not wait for commits to other tables.
        self._locks = {name: RLock() for name in tables}
        self._ended = Event()
        self._last = 0.0  # sign of life: a commit to HOLDER, or a heartbeat
        self._lost: OutputError | None = None

    def __enter__(self) -> "Lease":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Takes the output, and gives signs of life from then on, until it is released.

        Raises ValueError if another run holds the output, or if it cannot be written.
        """
        try:
            self._acquire()
        except OutputError as error:
            self.release()
            raise ValueError(str(error)) from error
        except BaseException:  # Ctrl-C may come when the output is taken already
            self.release()
            raise

    def paths(self, name: str) -> set[str]:
        """The files of a table that are visible now. Raises OutputError."""
        with self._held(name):
            return self._logs[name].paths()

    def check(self, name: str) -> None:
        """Raises OutputError if another run has taken the output, or the log of a table cannot be read."""
        with self._held(name):
            self._logs[name].check_held()

    def commit(self, name: str, change: Change) -> None:
        """Makes files of one table visible and others invisible, in one step.

        Raises FilesReplacedError, and OutputError: see `DeltaLog.commit`.
        """
        with self._held(name):
            self._commit(name, change)

    def release(self) -> None:
        """The next run may start at once."""
        self._ended.set()
        with uninterrupted(), self._locks[HOLDER]:
            if self._lost is not None or HOLDER not in self._logs:
                return
            self._lost = OutputError(f"{self._root} was left by this run")
            try:
                self._commit(HOLDER, Change(), state="left")
            except TakenOverError:
                pass  # there is nothing left to release
            except OutputError as error:  # not raised: it would hide the error that ended the run
                _log.warning("%s; the next run may have to wait %.0f s", error, LEASE_SECONDS)

    def beat(self) -> None:
        """A sign of life, if there was none for HEARTBEAT_SECONDS; and a look whether the output is held."""
        with self._locks[HOLDER]:
            if self._lost is not None or time.monotonic() - self._last < HEARTBEAT_SECONDS:
                return
            try:
                self._logs[HOLDER].check_held()
                write_heartbeat(self._root, self._run_id)
                self._last = time.monotonic()
            except TakenOverError as error:
                self._lost = error
            except (OutputError, OSError) as error:  # it may pass; if not, the run's own next commit says so
                _log.debug("%s", error)

    @contextmanager
    def _held(self, name: str) -> Iterator[None]:
        with self._locks[name]:
            if self._lost is not None:
                raise self._lost
            try:
                yield
            except TakenOverError as error:
                self._lost = error
                raise

    def _acquire(self) -> None:
        refuse_if_held(DeltaLog(self._tables[HOLDER], self._run_id), self._root)
        extend_table(self._tables[HOLDER])
        documents = DeltaLog(self._tables[HOLDER], self._run_id)
        refuse_if_held(documents, self._root)  # as of the version that the commit follows
        self._logs[HOLDER] = documents
        try:
            self._commit(HOLDER, Change())
        except OutputError as error:
            self._lost = error  # it was never held
            raise
        Thread(target=self._heartbeat, name="heartbeat", daemon=True).start()
        for name in self._tables:
            if name != HOLDER:
                self._fence(name)

    def _fence(self, name: str) -> None:
        """Commits to a table, so that no earlier run can any more."""
        extend_table(self._tables[name])
        for attempt in range(1, FENCES + 1):
            self._logs[name] = DeltaLog(self._tables[name], self._run_id)
            try:
                self._commit(name, Change())
                return
            except TakenOverError:
                if attempt == FENCES:
                    raise
            self.commit(HOLDER, Change())  # refused if this run is the earlier one

    def _heartbeat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS / 10):
            self.beat()

    def _commit(self, name: str, change: Change, state: str = "running") -> None:
        self._logs[name].commit(change, state)
        if name == HOLDER:
            self._last = time.monotonic()


def refuse_if_held(documents: DeltaLog, output: str) -> None:
    """Raises ValueError if another run holds the output of which this is the log of documents/.

    Raises OutputError: it cannot be read.
    """
    last = documents.last_run()
    if last is None or last["state"] != "running" or is_dead(last):
        return
    try:
        seen = max(last["timestamp"] / 1000, last_heartbeat(output, last["run_id"]))
    except OSError as error:
        raise OutputError(f"{output} cannot be read: {plain(error)}") from error
    silent = time.time() - seen
    if silent < LEASE_SECONDS:
        raise ValueError(
            f"output {output} is being written by run {last['run_id']} (process {last['pid']} on "
            f"{last['host']}), which gave a sign of life {silent:.0f} s ago: wait for its end; if it died, "
            f"start again in {LEASE_SECONDS - silent:.0f} s"
        )
