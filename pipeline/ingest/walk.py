"""Folders and globs on local disks in; the files behind them out, and what was left out.

One rule for links: a folder behind a link is read like any other, and every folder once, so that loops end.
Where a folder has several names, one without a link counts, or else the first. A link to a file is a file of
its own. Hidden names are left out.
"""

import errno
import glob
import os
import re
import stat
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from pipeline.ingest.progress import Progress

NOWHERE: Final = "links that lead nowhere"
READ_ALREADY: Final = "other names of what is read already"
NO_FILES: Final = "pipes, sockets and devices"


class Walk:
    """The files and folders behind some paths under `top`. `skipped` are the names left out, by why.

    In memory: some 300 bytes a file, most of them for its name.
    """

    def __init__(self, top: str, *, folders_alone: bool = False, progress: Progress | None = None) -> None:
        self.files: dict[str, None] = {}  # their names; in the same order
        self.sizes = array("q")  # their bytes
        self.versions = array("q")  # and when they were changed last, in nanoseconds
        self.folders: dict[str, str] = {}  # the name of each that was read, by its place
        self.skipped: dict[str, set[str]] = {}
        self._top = top
        self._real_top = os.path.realpath(top)
        self._folders_alone = folders_alone
        self._progress = progress
        self._behind_links: set[str] | None = None  # the places of files there, once nothing else is left

    def read(self, paths: Iterable[str]) -> None:
        """Reads files, and folders with the folders below them. Raises OSError."""
        given = set(paths)
        direct = {path for path in given if self._without_links(_place(path)) == os.path.normpath(path)}
        links = {link for path in sorted(direct) for link in self._read(path)} | given - direct
        self._behind_links = set()
        while links:
            links = {link for path in sorted(links) for link in self._read(path)}

    def _without_links(self, place: str) -> str:
        """How a place under the top would be called if no link led to it."""
        return os.path.normpath(os.path.join(self._top, os.path.relpath(place, self._real_top)))

    def _read(self, path: str) -> Iterator[str]:
        """Reads a file, or a folder and those below it; links to folders come out, to be read later."""
        if not os.path.isdir(path):
            self._add(path, _place(path))
            return
        left = [(path, _place(path))]
        while left:
            folder, place = left.pop()
            if place in self.folders:
                if self.folders[place] != folder:
                    self._skip(READ_ALREADY, folder)
                continue
            self.folders[place] = folder
            with os.scandir(folder) as entries:
                shown = [entry for entry in entries if not entry.name.startswith(".")]
            for entry in shown:
                inside = os.path.join(place, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    left.append((entry.path, inside))
                elif entry.is_symlink() and os.path.isdir(entry.path):
                    yield entry.path
                elif not self._folders_alone:
                    self._add(entry.path, inside)

    def _add(self, path: str, place: str) -> None:
        if self._behind_links is not None:
            # A glob may have matched a file by one name of its folder, and the folder by another one.
            if place in self._behind_links or self._without_links(place) in self.files:
                self._skip(READ_ALREADY, path)
                return
            self._behind_links.add(place)
        try:
            status = os.stat(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                raise
            self._skip(NOWHERE, path)
            return
        if not stat.S_ISREG(status.st_mode):
            self._skip(NO_FILES, path)
        elif path not in self.files:
            self.files[path] = None
            self.sizes.append(status.st_size)
            self.versions.append(status.st_mtime_ns)
            if self._progress:
                self._progress.listed(1)

    def _skip(self, why: str, path: str) -> None:
        self.skipped.setdefault(why, set()).add(path)


def _place(path: str) -> str:
    """Where a folder lies, links resolved; for a file the same of its folder."""
    if os.path.isdir(path):
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def walk_of(path: str, progress: Progress | None = None) -> Walk:
    """A file, or what lies in a folder. Raises OSError."""
    walk = Walk(path, progress=progress)
    walk.read([path])
    return walk


def matching(pattern: str, top: str, progress: Progress | None = None) -> Walk | None:
    """What a glob matches, and all that lies in the folders among it; None if it matches nothing.

    `top` is the part without wildcards. ** stands for any folders between. Raises OSError.
    """
    first, *rest = re.split(r"/\*\*(?=/|$)", pattern)
    matches = glob.glob(first or "/")
    walk = Walk(top, progress=progress)
    for piece in rest:
        below = Walk(top, folders_alone=True)
        below.read(matches)
        for why, names in below.skipped.items():
            walk.skipped.setdefault(why, set()).update(names)
        folders = list(below.folders.values())
        matches = folders
        if piece:
            found = (glob.glob(glob.escape(folder.rstrip("/")) + piece) for folder in folders)
            matches = list(chain.from_iterable(found))
    walk.read(matches)
    return walk if matches else None
