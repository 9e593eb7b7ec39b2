"""Written files in; one atomic entry in a table's Delta log, out.

A commit makes new files visible and others invisible in one step, on disks and on S3 alike: Delta creates the
log's next entry by a conditional put, and of two writers one is refused. Each commit is made for one version
of the table and refused at any other: the files that it removes are there. Deltalake's own way, to try again
behind a commit of somebody else's, does not check that, and OPTIMIZE would leave old rows beside new ones.

No clock is trusted with the rows, and no reply. Every entry carries a transaction number that must follow the
last one of this run, so a run that was taken for dead, and goes on after another run has committed, is
refused too. Whatever an attempt says that did not succeed, the log is read and tells whether it is there.

Every entry also names the run that made it, its process and its state: the lease reads this.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalake import CommitProperties, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from pipeline.commit.foreign_features import shape_of
from pipeline.commit.tables import (
    ATTEMPTS,
    DataFile,
    OutputError,
    Table,
    handle_of,
    paths_of,
)
from pipeline.ingest.delta import plain

APP = "quire"  # one for all runs, so that two drivers on one table always meet in a conflict
HISTORY = 20  # commits to look back in at first: other tools (OPTIMIZE, VACUUM) may have made the last ones


class TakenOverError(OutputError):
    """Another run writes to the output."""


class FilesReplacedError(Exception):
    """Another tool has replaced files that a change was to remove. Nothing is committed: make it anew."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """The files that one commit adds to one table, and takes away from it."""

    added: Sequence[DataFile] = ()
    removed: Mapping[str, int] | None = None  # path -> bytes

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


class DeltaLog:
    """The log of one table, as one run reads and writes it."""

    def __init__(self, table: Table, run_id: str) -> None:
        """Raises OutputError: it cannot be read."""
        self._table = table
        self._run_id = run_id
        self._schema = DeltaSchema.from_arrow(table.schema)
        with self._reading():
            self._handle = handle_of(table.uri)
            self._shape = shape_of(self._handle)
            # Of the last commit of any run before this one, then of this one's last.
            self._transaction = self._handle.transaction_version(APP) or 0
        self._number = 0  # of this run's commits, those that failed counted in
        self._durable = 0  # the number of the last one that is in the log

    def last_run(self) -> dict[str, Any] | None:
        """The run_id, state and process in a run's last commit, and its time in ms; None before the first.

        Raises OutputError: the log cannot be read.
        """
        for limit in (HISTORY, None):
            with self._reading():
                entries = self._handle.history(limit)
            for entry in entries:
                if APP in entry:
                    said: dict[str, Any] = entry[APP] | {"timestamp": entry["timestamp"]}
                    return said
            if len(entries) < HISTORY:
                break
        return None

    def paths(self) -> set[str]:
        """The files that are visible now. Raises OutputError."""
        self._refresh()
        return paths_of(self._handle)

    def check_held(self) -> None:
        """Raises TakenOverError if another run has taken the table, and OutputError."""
        self._refresh()

    def commit(self, change: Change, state: str) -> None:
        """Makes files visible and others invisible, in one step: once it returns, they are.

        Raises FilesReplacedError, and OutputError: nothing of the change is visible, unless an answer of the
        storage is still on its way. In doubt the next run sees it, since it commits before it reads.
        """
        self._number += 1
        for _ in range(ATTEMPTS):
            self._refresh()
            if change.removed and not change.removed.keys() <= paths_of(self._handle):
                raise FilesReplacedError(self._table.uri)
            version = self._handle.version()
            try:
                self._attempt(change, state)
            except (DeltaError, OSError) as error:
                self._refresh()
                if self._durable == self._number:  # the reply got lost, or it failed in what comes behind
                    return
                if self._handle.version() == version:
                    raise OutputError(f"{self._table.uri} cannot be written: {plain(error)}") from error
            else:
                self._transaction += 1
                self._durable = self._number
                return
        raise OutputError(
            f"{self._table.uri} cannot be written: other tools commit to it all the time; stop them first"
        )

    def _attempt(self, change: Change, state: str) -> None:
        said = {"run_id": self._run_id, "number": self._number, "state": state} | _this_process()
        now = time.time_ns() // 1_000_000
        actions: list[AddAction | RemoveAction] = [_add(file, now) for file in change.added]
        actions += [RemoveAction(path, True, now, size, {}) for path, size in (change.removed or {}).items()]
        properties = CommitProperties(
            app_transactions=[Transaction(APP, self._transaction + 1)],
            custom_metadata={APP: said},
            max_commit_retries=0,  # as the version behind the one that was read, or not at all
        )
        self._handle.create_write_transaction(
            actions, mode="append", schema=self._schema, commit_properties=properties
        )

    def _refresh(self) -> None:
        """Reads what was committed since. Raises OutputError, also if it is not for this run to go on."""
        uri = self._table.uri
        with self._reading():
            try:
                self._handle.update_incremental()
            except (DeltaError, OSError):  # an answer broke off; or old entries of the log were cleaned up
                self._handle = handle_of(uri)
            transaction = self._handle.transaction_version(APP) or 0
            altered = shape_of(self._handle) != self._shape
        last = self.last_run() if transaction != self._transaction else None
        if last is not None and last["run_id"] == self._run_id:
            self._transaction, self._durable = transaction, last["number"]
        elif last is not None:
            raise TakenOverError(
                f"{uri} was taken over by run {last['run_id']}: two runs never write to one output"
            )
        elif transaction != self._transaction:
            raise OutputError(f"{uri} was made anew by another tool while this run wrote to it")
        if altered:
            raise OutputError(
                f"{uri} was altered by another tool while this run wrote to it: its columns, partitions or "
                "features are not what they were"
            )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (DeltaError, OSError) as error:
            raise OutputError(f"{self._table.uri} cannot be read: {plain(error)}") from error


def is_dead(said: Mapping[str, Any]) -> bool:
    """Whether the process that a commit names ran on this machine, and has ended."""
    if not said["machine"] or said["machine"] != _machine():
        return False
    try:
        os.kill(said["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return False


def _this_process() -> dict[str, Any]:
    """Where this process runs, so that another on the same machine can tell whether it still does."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "machine": _machine()}


def _machine() -> str:
    """The boot of the machine, and the name space in which a process id means something."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux
        return ""


def _add(file: DataFile, now: int) -> AddAction:
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values={},
        modification_time=now,
        data_change=True,
        stats=json.dumps({"numRecords": file.rows}),
    )
