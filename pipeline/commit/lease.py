"""Written files in; what a reader of the tables sees, out: one atomic commit a table, by one run at a time.

A run takes an output before it reads what is there, and leaves it at its end. Who holds it stands in the log
of documents/, which is written by conditional put on S3 as well as on disks: each commit there names its run,
and one comes at least every HEARTBEAT_SECONDS. A run that died is replaced at once on its own machine,
elsewhere when LEASE_SECONDS have passed without a commit.

No clock is trusted with the rows: whoever takes an output commits to each of its tables first, and every
commit carries a transaction number that must follow the last one. A run that was taken for dead and goes on
is refused by the log at its next commit, and ends.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any

from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from pipeline.commit.tables import DataFile, Table, handle_of, paths_of, plain

APP = "quire"  # one for all runs, so that two drivers on one table always meet in a conflict
HEARTBEAT_SECONDS, LEASE_SECONDS = 30.0, 120.0
HOLDER = "documents"  # the table whose log says who holds the output
HISTORY = 20  # commits to look back in: another tool (OPTIMIZE, VACUUM) may have made the last ones

_log = logging.getLogger(__name__)


class OutputError(RuntimeError):
    """The output cannot be written any more: no room, no permission, another run. One sentence."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one commit does to one table."""

    added: Sequence[DataFile] = ()
    removed: Mapping[str, int] | None = None  # path -> bytes

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


class Lease:
    """The tables of an output, held by one run. As a context it keeps holding them, and leaves at its end."""

    def __init__(self, tables: Mapping[str, Table], run_id: str) -> None:
        """Takes the output. Raises ValueError if another run holds it, or if it cannot be written."""
        self._tables = tables
        self._run_id = run_id
        self._handles = {name: handle_of(table.uri) for name, table in tables.items()}
        self._schemas = {name: DeltaSchema.from_arrow(table.schema) for name, table in tables.items()}
        self._lock = RLock()  # the beat comes from a thread of its own
        self._ended = Event()
        self._last = 0.0
        self._number = 0
        self._lost: OutputError | None = None
        refuse_if_held(self._handles[HOLDER], self._root)
        try:
            for name in [HOLDER, *(name for name in tables if name != HOLDER)]:
                self._commit(name, Change(), "running")
        except OutputError as error:
            raise ValueError(str(error)) from error

    @property
    def _root(self) -> str:
        return self._tables[HOLDER].uri.removesuffix(f"/{HOLDER}")

    def __enter__(self) -> "Lease":
        self._beating = Thread(target=self._heartbeat, daemon=True)
        self._beating.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def commit(self, name: str, change: Change) -> None:
        """Makes files visible and others invisible, in one step. Raises OutputError."""
        with self._lock:
            if self._lost is not None:
                raise self._lost
            self._commit(name, change, "running")

    def release(self) -> None:
        """The next run may start at once."""
        self._ended.set()
        with self._lock:
            if self._lost is not None:
                return
            self._lost = OutputError(f"{self._root} was left by this run")
            try:
                self._commit(HOLDER, Change(), "left")
            except OutputError as error:  # what ended the run is what its caller wants to know
                _log.warning("%s; the next run may have to wait %.0f s", error, LEASE_SECONDS)

    def _heartbeat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS / 10):
            with self._lock:
                if self._lost is not None or time.monotonic() - self._last < HEARTBEAT_SECONDS:
                    continue
                try:
                    self._commit(HOLDER, Change(), "running")
                except OutputError as error:
                    self._lost = error

    def _commit(self, name: str, change: Change, state: str) -> None:
        table, handle = self._tables[name], self._handles[name]
        version = (handle.transaction_version(APP) or 0) + 1
        self._number += 1
        said = {"run_id": self._run_id, "number": self._number, "state": state} | _whereabouts()
        now = time.time_ns() // 1_000_000
        actions: list[AddAction | RemoveAction] = [_add(file, now) for file in change.added]
        actions += [RemoveAction(path, True, now, size, {}) for path, size in (change.removed or {}).items()]
        properties = CommitProperties(
            app_transactions=[Transaction(APP, version)], custom_metadata={APP: said}
        )
        try:
            handle.create_write_transaction(
                actions, mode="append", schema=self._schemas[name], commit_properties=properties
            )
            handle.update_incremental()
        except CommitFailedError as error:
            # Another run was first, or the reply to our own commit got lost: the log knows.
            handle.update_incremental()
            last = _last_said(handle)
            if last is None or (last["run_id"], last["number"]) != (self._run_id, self._number):
                raise OutputError(_refusal(table, self._run_id, last, error)) from error
        except (DeltaError, OSError) as error:
            raise OutputError(f"{table.uri} cannot be written: {plain(error)}") from error
        if name == HOLDER:
            self._last = time.monotonic()
        paths = paths_of(handle) if change else set()
        assert all(file.path in paths for file in change.added), (table.uri, change)


def refuse_if_held(handle: DeltaTable, output: str) -> None:
    """Raises ValueError if another run holds the output whose documents/ this is."""
    last = _last_said(handle)
    if last is None or last["state"] != "running" or _is_dead(last):
        return
    silent = time.time() - last["timestamp"] / 1000
    if silent < LEASE_SECONDS:
        raise ValueError(
            f"output {output} is being written by run {last['run_id']} (process {last['pid']} on "
            f"{last['host']}), which gave a sign of life {silent:.0f} s ago: wait for its end; if it died, "
            f"start again in {LEASE_SECONDS - silent:.0f} s"
        )


def _last_said(handle: DeltaTable) -> dict[str, Any] | None:
    """What the last commit of a run says of it, and its time."""
    for entry in handle.history(HISTORY):
        if APP in entry:
            said: dict[str, Any] = entry[APP] | {"timestamp": entry["timestamp"]}
            return said
    return None


def _refusal(table: Table, run_id: str, last: dict[str, Any] | None, error: Exception) -> str:
    if last is None or last["run_id"] == run_id or "oncurrent" not in str(error):
        return f"{table.uri} cannot be written: {plain(error)}"
    return f"{table.uri} was taken over by run {last['run_id']}: two runs never write to one output"


def _whereabouts() -> dict[str, Any]:
    """Where this process runs, so that another on the same machine can tell whether it still does."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "machine": _machine()}


def _machine() -> str:
    """The boot of the machine, and the name space in which a process id means something."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux
        return ""


def _is_dead(last: dict[str, Any]) -> bool:
    if not last["machine"] or last["machine"] != _machine():
        return False
    try:
        os.kill(last["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return False


def _add(file: DataFile, now: int) -> AddAction:
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values={},
        modification_time=now,
        data_change=True,
        stats=json.dumps({"numRecords": file.rows}),
    )
