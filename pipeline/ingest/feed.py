"""What the runs into an output have read of tables, and which rows of a table came since.

In: the positions that OUT/run.json keeps, and a listing that asks. Out: the version that was read last, and
new positions for the record. A position counts for what was asked: other questions, or other columns, are new
to all rows. It moves when a run has finished, and not before: until then the same rows are listed again, and
those that are done are skipped by their keys. A file that could not be read is noted beside it, and listed
again by each run until it can be.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

_log = logging.getLogger(__name__)

Position = Mapping[str, Any]
"""input, table (its place), id (of the table), version, asked; was_cut: some rows behind it may be done;
unread: files before it whose rows could not be listed, if there are any."""
MOST_UNREAD: Final = 1_000  # files that are noted beside a position


class Feed:
    """The positions of one run."""

    def __init__(self, read: Iterable[Position], *, asked: str, only_new: bool, has_ids: bool) -> None:
        """`read` are the positions of earlier runs; `has_ids` says whether rows are known by an id."""
        self._read = {_key(position): position for position in read}
        self.only_new = only_new
        self._asked, self._has_ids = asked, has_ids
        self._new: dict[tuple[str, ...], Position] = {}
        self._listed: set[tuple[str, ...]] = set()
        self._continued: set[tuple[str, ...]] = set()

    def since(self, given: str, table: str, id: str, version: int, *, moves: bool = True) -> Position | None:
        """The position up to which a table was read, if only rows behind it are wanted; None for all of them.

        It is read up to `version` now, which a finished run will have read, if it `moves` that far.
        """
        position = {"input": given, "table": table, "id": id, "version": version}
        position |= {"asked": self._asked, "was_cut": False}
        key = _key(position)
        self._listed.add(key)
        if moves:
            self._new[key] = position
        if not self.only_new:
            return None
        before = self._read.get(key)
        if before is None or before["id"] != id:
            why = "nothing was asked of it so" if before is None else "it was made anew since"
            _log.warning("%s: %s: all of its rows are listed", table, why)
            return None
        self._continued.add(key)
        return before

    @property
    def continues(self) -> bool:
        """Whether all tables so far were asked so before: then no column is mistyped."""
        return bool(self._listed) and self._listed == self._continued

    def unclear(self, table: str, why: str) -> None:
        """Says that all rows are listed, where that asks none again. Raises ValueError where it could."""
        if not self._has_ids:
            raise ValueError(
                f"--since-last-run: which rows of {table} are new cannot be told: {why}; name its rows with "
                "--id-column, by which they are known wherever they lie, or leave --since-last-run out: then "
                "rows that lie in other files by now are new documents, and have answers of their own"
            )
        _log.warning("%s: %s: all of its rows are listed, and known by their ids", table, why)

    def left(self, files: Iterable[str]) -> None:
        """Rows of these files, or what is attached to them, could not be listed: they are still to come."""
        every = set(files)
        left = set(every)
        for key, position in self._new.items():  # two inputs may name the same table
            mine = {file for file in every if file.startswith(f"{position['table']}/")}
            left -= mine
            if len(mine) > MOST_UNREAD:
                left = mine
                break
            if mine:
                self._new[key] = {**position, "unread": sorted(mine)}
        if left and self._new:  # too many to note, or of nobody knows which table
            _log.warning(
                "documents could not be read when they were listed: the next run with --since-last-run lists "
                "these tables from where the last one did"
            )
            self._new = {}

    def check(self) -> None:
        """Raises ValueError if only new rows of tables are wanted, and there was no table."""
        if self.only_new and not self._listed:
            raise ValueError(
                "--since-last-run is about Delta and Iceberg tables, and no input is one: leave it out; "
                "documents that are done are skipped without it, too"
            )

    def before(self) -> list[Position]:
        """Those of earlier runs."""
        return list(self._read.values())

    def begun(self) -> list[Position]:
        """Those of a run that has begun: if nothing follows, it was cut."""
        return [
            position if key not in self._listed else {**position, "was_cut": True}
            for key, position in self._read.items()
        ]

    def finished(self) -> list[Position]:
        """Those of a run that has finished."""
        begun = {_key(position): position for position in self.begun()}
        return list((begun | self._new).values())  # what stays where it was, though it was asked beyond


def _key(position: Position) -> tuple[str, ...]:
    return position["input"], position["table"], position["asked"]
