"""Globs on addresses: whether the last parts of one match, where ** stands for any number of parts."""

from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import PurePosixPath


def ends_with(uri: str, pattern: str) -> bool:
    """Whether the last parts of a uri match a glob; all of them where the glob begins with a slash.

    Example: /in/2024/may/a.pdf ends with *.pdf, may/*, 2024/**/*.pdf and in/**.
    """
    wanted = _parts(pattern)
    given = PurePosixPath(uri).parts
    places = set(range(len(given)) if wanted[0] != "/" else [0])  # where the rest of the glob may begin
    for part in wanted:
        if part == "**":
            places = set(range(min(places, default=len(given) + 1), len(given) + 1))
        else:
            places = {at + 1 for at in places if at < len(given) and fnmatchcase(given[at], part)}
    return len(given) in places


@lru_cache
def _parts(pattern: str) -> tuple[str, ...]:
    return PurePosixPath(pattern).parts
