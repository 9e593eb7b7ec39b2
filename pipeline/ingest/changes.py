"""The changes of a table from version to version in; the files that hold the rows which came since, out.

A row is new when the file came that it came in. Compaction writes rows into other files, and they stay what
they were: old ones are not new again, and new ones that were merged with old ones are read from the file
before that, which stays on disk until the table is vacuumed. Where the changes do not tell new rows from old
ones, that is an `UnclearError`, never a guess.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pipeline.ingest import storage

# append: files came. rewrite: the same rows lie in other files. delete: rows went, though the others of their
# files may lie in new ones. replace: all rows went that are gone, and others came. unclear: none of these.
Kind = Literal["append", "rewrite", "delete", "replace", "unclear"]


class UnclearError(Exception):
    """Nobody can tell which rows are new. One half of a sentence says why."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one version did to the files of a table."""

    version: int
    """A Delta table's version, or an Iceberg snapshot's id."""
    before: int
    """The one before it."""
    kind: Kind
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    in_place: bool = False
    """Whether rows were deleted of files that stay."""
    what: str = ""
    """What an unclear one is called."""


def check_there(files: Iterable[str]) -> None:
    """Raises UnclearError for a file that was vacuumed; and OSError."""
    for file in files:
        try:
            storage.read_start(file, 1)
        except FileNotFoundError as error:
            raise UnclearError(f"{file}, which a compaction has merged with others, was removed") from error


def new_files(
    changes: Iterable[Change], *, was_cut: bool = False, unread: Iterable[str] = ()
) -> dict[str, int | None]:
    """The files with rows that came, and for one that is gone by now the version at which to read it.

    With `was_cut`, some of the rows may have been asked, by the files that they came in: they are looked for
    nowhere else. `unread` are older files whose rows nobody could list: they count as rows that came. Raises
    UnclearError.
    """
    fresh: dict[str, int | None] = dict.fromkeys(unread)
    mixed: set[str] = set()  # files of today that hold new rows which are read elsewhere
    for change in changes:
        current = {file for file, version in fresh.items() if version is None}
        gone = change.removed & current
        mixed_gone = change.removed & mixed
        match change.kind:
            case "append" if mixed and change.in_place:  # an update of such rows, by deletion vectors
                raise UnclearError(f"version {change.version} changed rows behind a compaction")
            case "append":
                fresh |= dict.fromkeys(change.added)
            case "rewrite" if gone and gone == change.removed and not was_cut:
                fresh = {file: version for file, version in fresh.items() if file not in gone}
                fresh |= dict.fromkeys(change.added)
            case "rewrite" if gone or mixed_gone:
                fresh |= dict.fromkeys(gone, change.before)
                mixed = (mixed - mixed_gone) | change.added
            case "rewrite":
                pass
            case "delete" | "replace" if (
                mixed and mixed <= change.removed and (change.kind == "replace" or not change.added)
            ):  # with them, all that was merged is gone
                fresh = dict.fromkeys(current - gone) | dict.fromkeys(change.added)
                mixed = set()
            case "delete" | "replace" if mixed_gone or (mixed and change.in_place):
                raise UnclearError(f"version {change.version} deleted rows behind a compaction")
            case "delete" if change.added and gone and gone != change.removed:
                raise UnclearError(f"version {change.version} deleted old and new rows together")
            case "delete" if change.added and gone and was_cut:
                raise UnclearError(
                    f"version {change.version} deleted rows of files of which a run that was cut has asked "
                    "some"
                )
            case "delete" | "replace":
                fresh = {file: version for file, version in fresh.items() if file not in gone}
                if change.kind == "replace" or gone:
                    fresh |= dict.fromkeys(change.added)
            case "unclear":
                raise UnclearError(
                    f"version {change.version} ({change.what}) wrote old and new rows together"
                )
    return fresh
