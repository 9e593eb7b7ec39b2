"""The log of a Delta table in; what each of its versions did to its files, out.

Entries of the log are JSON, a file for each version (PROTOCOL.md of delta-io/delta): what adds and removes
files, and what was done, in the words of the program that did it.
"""

import json
from collections.abc import Iterator, Set
from typing import Any, Final
from urllib.parse import unquote

from pipeline.ingest import storage
from pipeline.ingest.changes import Change, Kind, UnclearError

LOG: Final = "_delta_log"
_OVERWRITES: Final = ("WRITE", "CREATE OR REPLACE TABLE AS SELECT", "REPLACE TABLE AS SELECT")


def changes(root: str, since: int, version: int) -> Iterator[Change]:
    """Those behind version `since`, up to `version`. Raises UnclearError: some are gone; and OSError."""
    if since > version:
        raise UnclearError(f"it is at version {version}, and version {since} was read")
    for number in range(since + 1, version + 1):
        try:
            with storage.open_input(f"{root}/{LOG}/{number:020}.json") as file:
                lines = file.read().splitlines()  # of bytes: a text may break elsewhere, too
        except FileNotFoundError as error:
            raise UnclearError(f"version {number} has left its log") from error
        try:
            change = _change(root, number, [json.loads(line) for line in lines if line.strip()])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnclearError(f"version {number} of its log is not as Delta has it") from error
        yield change


def _change(root: str, number: int, entries: list[dict[str, Any]]) -> Change:
    added = _actions(entries, "add")
    removed = _actions(entries, "remove")
    said: dict[str, Any] = next((entry["commitInfo"] for entry in entries if "commitInfo" in entry), {})
    both = added.keys() & removed.keys()  # with another deletion vector
    moves_rows = any(action.get("dataChange", True) for action in (*added.values(), *removed.values()))
    operation = str(said.get("operation", "an operation without a name"))
    return Change(
        version=number,
        before=number - 1,
        kind=_kind(operation, said, added.keys() - both, removed.keys() - both) if moves_rows else "rewrite",
        added=frozenset(_uri(root, path) for path in added.keys() - both),
        removed=frozenset(_uri(root, path) for path in removed.keys() - both),
        in_place=bool(both),
        what=operation,
    )


def _kind(operation: str, said: dict[str, Any], added: Set[str], removed: Set[str]) -> Kind:
    if operation == "RESTORE":
        return "unclear"  # files that were read long ago may be back
    if not added:
        return "delete"
    if not removed:
        return "append"
    if operation == "DELETE":
        return "delete"
    parameters = said.get("operationParameters") or {}
    is_whole = parameters.get("predicate") in (None, "", "[]")
    return "replace" if operation in _OVERWRITES and is_whole else "unclear"


def _actions(entries: list[dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    return {action["path"]: action for entry in entries if (action := entry.get(name))}


def _uri(root: str, path: str) -> str:
    return f"{root}/{unquote(path)}"
