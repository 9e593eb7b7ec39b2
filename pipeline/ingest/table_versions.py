"""A table's address as a person types it: its place, and the version behind an @.

Example: scans@v12 is version 12 of the Delta table scans, iceberg://lake/docs.scans@8310298447101 a snapshot
of an Iceberg table, and scans@2026-11-29T12:00:00Z what either of them was at that time.
"""

import re
from datetime import UTC, datetime
from typing import Final

from pipeline.ingest import storage
from pipeline.ingest.object_uris import VERSION, without_version

ICEBERG: Final = "iceberg://"
Version = int | str | datetime
"""Of a Delta table a number, of an Iceberg table the id of a snapshot as text, of both a time."""
_VERSIONED: Final = re.compile(rf"(.*[^/])@({VERSION})/?")


def split_version(given: str) -> tuple[str, Version | None]:
    """The place of an input, and the version that it names. A file or folder of that very name goes first.

    No bucket has an @ in its name: s3://bucket@v3 is version 3 of the table that is the whole bucket.
    """
    found = _VERSIONED.fullmatch(given)
    if found is None:
        return given, None
    place, version = found.groups()
    is_named = given.startswith(ICEBERG) or without_version(given) == place
    if not is_named and storage.is_there(given):
        return given, None
    if "-" in version:
        try:
            time = datetime.fromisoformat(version)
        except ValueError:
            return given, None
        return place, time if time.tzinfo else time.replace(tzinfo=UTC)
    return place, int(version[1:]) if version.startswith("v") else version


def said(version: Version) -> str:
    """A version as it stands in an address."""
    if isinstance(version, datetime):
        return f"@{version.isoformat()}"
    return f"@v{version}" if isinstance(version, int) else f"@{version}"
