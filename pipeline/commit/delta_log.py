"""Written files in; one atomic entry in a table's Delta log, out.

A commit makes new files visible and others invisible in one step, on disks and on S3 alike: Delta creates the
log's next entry by a conditional put, and of two writers one is refused. No clock is trusted with the rows:
every entry carries a transaction number that must follow the last one, so a run that was taken for dead, and
goes on after another run has committed, is refused too.

Every entry also names the run that made it, its process and its state: the lease reads this.
"""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalake import CommitProperties, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from pipeline.commit.tables import DataFile, Table, handle_of, paths_of, plain

APP = "quire"  # one for all runs, so that two drivers on one table always meet in a conflict
HISTORY = 20  # commits to look back in: another tool (OPTIMIZE, VACUUM) may have made the last ones


class OutputError(RuntimeError):
    """The output cannot be written any more: no room, no permission, another run. One sentence."""


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
        self._table = table
        self._run_id = run_id
        self._handle = handle_of(table.uri)
        self._schema = DeltaSchema.from_arrow(table.schema)
        self._number = 0  # of this run's commits

    def last_run(self) -> dict[str, Any] | None:
        """The run_id, state and process in a run's last commit, and its time in ms; None before the first."""
        for entry in self._handle.history(HISTORY):
            if APP in entry:
                said: dict[str, Any] = entry[APP] | {"timestamp": entry["timestamp"]}
                return said
        return None

    def commit(self, change: Change, state: str) -> None:
        """Makes files visible and others invisible, in one step. Raises OutputError."""
        handle, uri = self._handle, self._table.uri
        version = (handle.transaction_version(APP) or 0) + 1
        self._number += 1
        said = {"run_id": self._run_id, "number": self._number, "state": state} | _this_process()
        now = time.time_ns() // 1_000_000
        actions: list[AddAction | RemoveAction] = [_add(file, now) for file in change.added]
        actions += [RemoveAction(path, True, now, size, {}) for path, size in (change.removed or {}).items()]
        properties = CommitProperties(
            app_transactions=[Transaction(APP, version)], custom_metadata={APP: said}
        )
        try:
            handle.create_write_transaction(
                actions, mode="append", schema=self._schema, commit_properties=properties
            )
            handle.update_incremental()
        except CommitFailedError as error:
            # Another run was first, or the reply to our own commit got lost: the log knows.
            handle.update_incremental()
            last = self.last_run()
            if last is None or (last["run_id"], last["number"]) != (self._run_id, self._number):
                raise OutputError(self._refusal(last, error)) from error
        except (DeltaError, OSError) as error:
            raise OutputError(f"{uri} cannot be written: {plain(error)}") from error
        paths = paths_of(handle) if change else set()
        assert all(file.path in paths for file in change.added), (uri, change)

    def _refusal(self, last: dict[str, Any] | None, error: Exception) -> str:
        if last is None or last["run_id"] == self._run_id or "oncurrent" not in str(error):
            return f"{self._table.uri} cannot be written: {plain(error)}"
        return f"{self._table.uri} was taken over by run {last['run_id']}: two runs never write to one output"


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
