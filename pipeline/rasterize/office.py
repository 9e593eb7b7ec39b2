"""Office files become PDFs, by LibreOffice, in a process that is confined, watched and killed at its limits.

In: a document's bytes, and the format that the sandbox found them to have. Out: a PDF, which is as hostile as
the document, and is opened in the sandbox like any other; or a DocumentError that names the cause. Each
document has a process of its own, and a fresh copy of a profile in which macros, links and updates are off,
all in a folder that is gone afterwards. A crash is tried a second time.
"""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipeline.child_process import ROOT
from pipeline.ingest.file_types import MAX_BYTES, OFFICE, DocumentError, OfficeKind
from pipeline.ingest.libreoffice import installation
from pipeline.plan.limits import Limits
from pipeline.rasterize.confinement import lacking
from pipeline.rasterize.supervisor import PASSED_ON, PATIENCE, WATCH_SECONDS, Died, signal_name, usage_of

PROGRAM: Final = "pipeline.rasterize.office_main"
PREFIX: Final = "quire-office-"
MOST_SCRATCH: Final = 4 * MAX_BYTES  # bytes of all its files: the document, what it unpacks, the PDF
MOST_PATH: Final = 2**11  # letters of a path in it
LOOK_SECONDS: Final = 0.25  # between two sums of its files
FIRST_START_SECONDS: Final = 60.0  # of computing, for the profile
FIRST_STARTS: Final = 3
RESTART: Final = 81  # LibreOffice's exit code where it has made a profile, and wants to be started again

# What no document may have it do. Macros are off altogether, whatever a document's own settings say.
SETTINGS: Final = (
    ("Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("Common/Security/Scripting", "MacroSecurityLevel", "3"),
    ("Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("Writer/Content/Update", "Link", "2"),  # never
    ("Calc/Content/Update", "Link", "2"),
)


class Office:
    """Converts documents, one at a time. It makes its profile with the first of them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._folder: Path | None = None

    def to_pdf(self, data: bytes, name: str, media_type: str) -> bytes:
        """The PDF of a document of one of OFFICE.

        Raises DocumentError: unsupported_type without LibreOffice, damaged, timeout, memory, too_large,
        crash, killed.
        """
        kind, where = OFFICE[media_type], installation()
        if where is None:
            message = (
                f"{name} is {kind.what}: install LibreOffice on {socket.gethostname()} (Debian's package "
                f"{kind.package}) to have it converted, or convert it to PDF"
            )
            raise DocumentError("unsupported_type", message)
        if lacks := lacking():
            message = f"{name} is {kind.what}, which is not converted where Linux lacks {lacks}"
            raise DocumentError("unsupported_type", message)
        for last in (False, True):
            try:
                return self._convert(where, data, name, kind)
            except Died as died:
                if last or died.reason not in ("crash", "killed"):
                    raise DocumentError(died.reason, f"{name} {died.how}") from died
            except OSError as error:  # as on a disk that is full, maybe of another document's files
                if last:
                    how = f"could not be converted on {socket.gethostname()}: {error.strerror or error}"
                    raise DocumentError("killed", f"{name} {how}") from error
        raise AssertionError("the second outcome is believed")

    def _convert(self, where: str, data: bytes, name: str, kind: OfficeKind) -> bytes:
        folder = self._prepared(where)
        scratch = folder / "scratch"
        clear(scratch)  # where it could not be done before
        document = scratch / f"document{kind.suffixes[0]}"
        reader = [f"--infilter={kind.reader}"] if kind.reader else []
        shutil.copytree(folder / "profile", scratch / "profile")
        document.write_bytes(data)
        opened = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
        try:
            code = self._run(where, scratch, self._limits.page_seconds, *reader, str(document))
            pdf = _read(opened, "document.pdf")
        finally:
            os.close(opened)
            clear(scratch)
        if pdf:
            return pdf
        if code:
            raise Died("crash", f"made LibreOffice end without a PDF (exit code {code})")
        message = (
            f"LibreOffice could not load {name}: it is damaged, needs a password, or the part of LibreOffice "
            f"that reads it is not installed (Debian's package {kind.package})"
        )
        raise DocumentError("damaged", message)

    def _prepared(self, where: str) -> Path:
        """The folder of this object, with a profile to copy in it. Raises Died, OSError."""
        if self._folder is None or not self._folder.exists():
            self._folder = _locked_folder(self)
        folder, scratch = self._folder, self._folder / "scratch"
        if (folder / "profile").exists():
            return folder
        scratch.mkdir(exist_ok=True)
        clear(scratch)
        (scratch / "profile" / "user").mkdir(parents=True)
        (scratch / "profile" / "user" / "registrymodifications.xcu").write_text(_settings())
        for _ in range(FIRST_STARTS):
            if (code := self._run(where, scratch, FIRST_START_SECONDS)) != RESTART:
                break
        if code:
            raise Died("crash", f"waited for a LibreOffice that does not start (exit code {code})")
        (scratch / "profile").rename(folder / "profile")
        return folder

    def _run(self, where: str, scratch: Path, seconds: float, *given: str) -> int:
        """Its exit code. Raises Died, DocumentError: too_large."""
        limits = self._limits
        numbers = (os.getpid(), limits.page_bytes, MAX_BYTES)
        process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, where, str(scratch), *map(str, (*numbers, *given))],
            cwd=ROOT,
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        watched = os.open(f"/proc/{process.pid}/stat", os.O_RDONLY)
        try:
            self._watch(process, watched, scratch, seconds)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            os.close(watched)
        if code == -signal.SIGKILL:
            raise Died("killed", "could not be converted: LibreOffice was killed, as when memory runs out")
        if code == -signal.SIGXFSZ:
            raise Died("too_large", f"made LibreOffice write a file of more than {MAX_BYTES} bytes")
        if code < 0:
            raise Died("crash", f"crashed LibreOffice ({signal_name(-code)})")
        return code

    def _watch(
        self, process: "subprocess.Popen[bytes]", stat_file: int, scratch: Path, seconds: float
    ) -> None:
        """Returns when it has ended. Raises Died, for which it is to be killed."""
        started = looked = time.monotonic()
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(WATCH_SECONDS)
                return
            computed, used = usage_of(stat_file)
            if computed > seconds:
                raise Died("timeout", f"took LibreOffice more than {seconds:g} s (--page-timeout)")
            if used > self._limits.page_bytes:
                raise Died("memory", self._limits.memory_exceeded)
            now = time.monotonic()
            if now - started > PATIENCE * seconds:
                raise Died("timeout", "took LibreOffice too long, though it computed little")
            if now - looked > LOOK_SECONDS:
                looked = now
                if _size(scratch) > MOST_SCRATCH:
                    raise Died("too_large", f"made LibreOffice write more than {MOST_SCRATCH} bytes")


def _settings() -> str:
    """As a profile has them."""
    items = (
        f'<item oor:path="/org.openoffice.Office.{path}"><prop oor:name="{name}" oor:op="fuse">'
        f"<value>{value}</value></prop></item>"
        for path, name, value in SETTINGS
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<oor:items xmlns:oor="http://openoffice.org/2001/registry">'
        f"{''.join(items)}</oor:items>\n"
    )


def _read(folder: int, name: str) -> bytes:
    """A file of that folder, and of no other: what made it may have made a link or a pipe. Empty if none."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return b""
    with open(file, "rb") as opened:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            return b""
        return opened.read(MAX_BYTES)


def _size(folder: Path) -> int:
    """The bytes of all files below a folder, whose process makes and removes them meanwhile."""
    total, waiting = 0, [str(folder)]
    while waiting:
        path = waiting.pop()
        if len(path) > MOST_PATH:
            return MOST_SCRATCH + 1  # deeper than the kernel follows: what lies there cannot be summed
        with suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    with suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def clear(folder: Path) -> None:
    """Empties a folder. Raises OSError.

    A tree in it may be deeper than the kernel follows a path, and Python a function, and may not be open to
    its owner: it is taken apart from above.
    """
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, stat.S_IRWXU)
            for inner in list(os.scandir(entry.path)):
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.path, stat.S_IRWXU)  # to be moved
                    os.rename(inner.path, folder / secrets.token_hex(16))
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)


def _locked_folder(owner: object) -> Path:
    """A new folder, removed with its owner; what a process has left that was killed, the next one removes."""
    above = Path(tempfile.gettempdir())
    for left in above.glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_left(left)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():  # nobody took it for one that was left
            weakref.finalize(owner, _remove, folder, lock)
            return folder
        os.close(lock)


def _remove_left(folder: Path) -> None:
    """Removes a folder whose process is gone. Raises OSError."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if os.fstat(lock).st_uid == os.getuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            clear(folder)
            folder.rmdir()
    finally:
        os.close(lock)


def _remove(folder: Path, lock: int) -> None:
    with suppress(OSError):
        clear(folder)
        folder.rmdir()
    os.close(lock)
