"""LibreOffice converts office files, confined; whatever a document does to it costs that document alone."""

import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import pymupdf
import pytest

from pipeline.ingest.file_types import OFFICE, DocumentError
from pipeline.plan.limits import MIB, Limits
from pipeline.rasterize import office as office_module
from pipeline.rasterize.office import PREFIX, Office
from pipeline.rasterize.opening import open_any
from pipeline.rasterize.sandbox import Sandbox
from tests.pipeline.drawn import corner_image, image_bytes
from tests.pipeline.office_files import docx, odt

ROOT: Final = Path(__file__).resolve().parents[3]
BY_SUFFIX: Final = {kind.suffixes[0]: media_type for media_type, kind in OFFICE.items()}
LIMITS: Final = Limits(page_seconds=1, page_bytes=256 * MIB)
pytestmark = pytest.mark.processes

# A program in the place of LibreOffice: it is run as that is, with the same flags.
STAND_IN: Final = """#!{python}
import os, signal, sys, time
scratch = sys.argv[sys.argv.index("--outdir") + 1] if "--outdir" in sys.argv else None
if scratch is None:
    sys.exit(0)
{body}
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which LibreOffice works."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


@pytest.fixture
def stand_in(tmp_path: Path, places: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Office]:
    """An Office whose LibreOffice is a program of Python's with this body, not confined."""

    def made(body: str) -> Office:
        program = tmp_path / "office" / "program" / "soffice.bin"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(STAND_IN.format(python=sys.executable, body=body))
        program.chmod(0o755)
        monkeypatch.setattr(office_module, "installation", lambda: str(program.parents[1]))
        monkeypatch.setattr(office_module, "PROGRAM", "tests.pipeline.rasterize.unconfined_office")
        return Office(LIMITS)

    return made


def failure(office: Office, data: bytes = b"{\\rtf1 a}", suffix: str = ".rtf") -> DocumentError:
    with pytest.raises(DocumentError) as failed:
        office.to_pdf(data, "x", BY_SUFFIX[suffix])
    return failed.value


def test_without_libreoffice_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office_module, "installation", lambda: None)
    error = failure(Office(Limits()), suffix=".xlsx")
    assert error.reason == "unsupported_type"
    assert "x is an Excel workbook: install LibreOffice on" in error.message
    assert "(Debian's package libreoffice-calc-nogui)" in error.message


def test_without_a_whole_confinement_nothing_is_converted(
    stand_in: Callable[[str], Office], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office_module, "lacking", lambda: "Landlock (ENOSYS)")
    error = failure(stand_in("raise SystemExit('ran')"))
    assert (error.reason, error.message) == (
        "unsupported_type",
        "x is an RTF document, which is not converted where Linux lacks Landlock (ENOSYS)",
    )


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        ("pass", "damaged", "LibreOffice could not load x: it is damaged, needs a password, or"),
        ("sys.exit(7)", "crash", "x made LibreOffice end without a PDF (exit code 7)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crash", "x crashed LibreOffice (SIGSEGV)"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "killed",
            "x could not be converted: LibreOffice was killed",
        ),
        ("while True: pass", "timeout", "x took LibreOffice more than 1 s (--page-timeout)"),
        ("held = b'x' * 3 * 10**8; time.sleep(60)", "memory", "x took more than 256 MiB (--page-memory)"),
        ("os.symlink('/etc/passwd', f'{scratch}/document.pdf')", "damaged", "LibreOffice could not load x"),
        ("os.mkfifo(f'{scratch}/document.pdf')", "damaged", "LibreOffice could not load x"),
        (
            "open(f'{scratch}/a', 'wb').write(bytes(2**21)); time.sleep(60)",
            "too_large",
            "x made LibreOffice write more than 1048576 bytes",
        ),
        (
            "os.chdir(scratch)\nfor _ in range(3000): os.mkdir('d', 0); os.chdir('d')\ntime.sleep(60)",
            "too_large",
            "x made LibreOffice write more than 1048576 bytes",
        ),
    ],
)
def test_whatever_libreoffice_does_is_a_cause(
    stand_in: Callable[..., Office],
    places: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    reason: str,
    words: str,
) -> None:
    monkeypatch.setattr(office_module, "MOST_SCRATCH", 2**20)
    office = stand_in(body)
    error = failure(office)
    assert error.reason == reason
    assert words in error.message
    (folder,) = places.iterdir()
    assert list((folder / "scratch").iterdir()) == []
    del office, error
    gc.collect()  # the error has a traceback, whose frames know of it
    assert list(places.iterdir()) == []


def test_one_that_hangs_is_given_up_and_its_processes_are_gone(
    stand_in: Callable[..., Office], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office_module, "PATIENCE", 2)
    pids = "open(f'{scratch}/../pids', 'w').write(f'{os.getpid()} {child}')"
    office = stand_in(f"child = os.fork()\nif child: {pids}\ntime.sleep(600)")
    error = failure(office)
    assert (error.reason, error.message) == (
        "timeout",
        "x took LibreOffice too long, though it computed little",
    )
    assert office._folder is not None
    for pid in map(int, (office._folder / "pids").read_text().split()):
        assert is_gone(pid)


def is_gone(pid: int) -> bool:
    """Whether it has ended, which a process without a parent may do a moment later."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_a_crash_is_tried_again(stand_in: Callable[..., Office]) -> None:
    office = stand_in(
        "again = f'{scratch}/../again'\n"
        "if not os.path.exists(again): open(again, 'w'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "open(f'{scratch}/document.pdf', 'w').write('%PDF')"
    )
    assert office.to_pdf(b"", "x", BY_SUFFIX[".rtf"]) == b"%PDF"


def test_each_document_has_a_fresh_profile(stand_in: Callable[..., Office]) -> None:
    office = stand_in(
        "left = f'{scratch}/profile/left'\n"
        "open(f'{scratch}/document.pdf', 'w').write(str(os.path.exists(left)))\n"
        "open(left, 'w')\n"
        "assert 'DisableMacrosExecution' in open(f'{scratch}/profile/user/registrymodifications.xcu').read()"
    )
    assert [office.to_pdf(b"", "x", BY_SUFFIX[".rtf"]) for _ in range(2)] == [b"False", b"False"]


def test_a_libreoffice_that_does_not_start_is_given_up(stand_in: Callable[..., Office], places: Path) -> None:
    office = stand_in("pass")
    program = places.parent / "office" / "program" / "soffice.bin"
    program.write_text(f"#!{sys.executable}\nraise SystemExit(81)")
    for _ in range(2):
        error = failure(office)
        assert error.reason == "crash"
        assert "waited for a LibreOffice that does not start (exit code 81)" in error.message
    assert len(list(places.iterdir())) == 1


def test_a_full_disk_costs_the_document_and_not_the_run(
    stand_in: Callable[..., Office], places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = stand_in("open(f'{scratch}/document.pdf', 'w').write('%PDF')")
    full = Full(shutil.copytree)
    monkeypatch.setattr(shutil, "copytree", full)
    error = failure(office)
    assert error.reason == "killed"
    assert error.message.endswith(": No space left on device")
    full.times = 1
    assert office.to_pdf(b"", "x", BY_SUFFIX[".rtf"]) == b"%PDF"


class Full:
    """A disk that is full so many times, and leaves a folder that is not whole."""

    def __init__(self, copy: Callable[..., Any]) -> None:
        self.times = 2
        self._copy = copy

    def __call__(self, source: Path, target: Path, *more: Any) -> Any:
        if self.times:
            self.times -= 1
            target.mkdir()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._copy(source, target, *more)


def dig(folder: Path) -> None:
    """Makes a tree of folders in this one that is deeper than a path may be long."""
    above = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=above)
        below = os.open("d", os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(above)


def test_what_a_killed_process_has_left_the_next_one_removes(
    stand_in: Callable[..., Office], places: Path
) -> None:
    body = "open(f'{scratch}/document.pdf', 'w').write('%PDF')"
    first = stand_in(body)
    first.to_pdf(b"", "x", BY_SUFFIX[".rtf"])
    (used,) = places.iterdir()
    (places / f"{PREFIX}left").mkdir()
    dig(places / f"{PREFIX}left")
    (places / "others").mkdir()
    second = stand_in(body)
    second.to_pdf(b"", "x", BY_SUFFIX[".rtf"])
    assert used.exists()
    assert not (places / f"{PREFIX}left").exists()
    assert (places / "others").exists()
    assert len(list(places.iterdir())) == 3


def test_it_dies_with_its_worker(
    stand_in: Callable[..., Office], places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office_module, "PATIENCE", 1)
    stand_in("open(f'{scratch}/../pid', 'w').write(str(os.getpid())); time.sleep(600)")
    where = str(places.parent / "office")
    program = (
        "import tempfile\n"
        "from pipeline.plan.limits import Limits\n"
        "from pipeline.rasterize import office\n"
        f"tempfile.tempdir, office.PROGRAM = {str(places)!r}, {office_module.PROGRAM!r}\n"
        f"office.installation = lambda: {where!r}\n"
        "office.Office(Limits()).to_pdf(b'', 'x', 'application/rtf')"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    until = time.monotonic() + 60
    while not (found := [path.read_text() for path in places.glob("*/pid")]) or not found[0]:
        assert time.monotonic() < until
        assert worker.poll() is None
        time.sleep(0.02)
    worker.kill()
    worker.wait()
    assert is_gone(int(found[0]))
    assert len(list(places.iterdir())) == 1
    following = Office(LIMITS)
    with suppress(DocumentError):
        following.to_pdf(b"", "y", BY_SUFFIX[".rtf"])
    (left,) = places.iterdir()
    assert (left / "pid").read_text() != found[0]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Office]]:
    """In a folder whose path is longer than that of a socket may be."""
    limits = Limits()
    sandbox = Sandbox(limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("long" * 25)))
        yield sandbox, Office(limits)
    sandbox.close()


def words_of(real: tuple[Sandbox, Office], data: bytes) -> tuple[str, list[str]]:
    """The media type, and the words of each page."""
    with open_any(*real, data, "x") as opened, pymupdf.open(stream=opened.data) as pdf:
        assert opened.page_count == pdf.page_count
        return opened.media_type, [page.get_text().strip() for page in pdf]


@pytest.mark.soak
@pytest.mark.program("soffice")
def test_it_converts_the_pages_of_a_document(real: tuple[Sandbox, Office]) -> None:
    assert words_of(real, docx("forty-two", pages=2)) == (BY_SUFFIX[".docx"], ["forty-two"] * 2)
    assert words_of(real, odt("forty-three")) == (BY_SUFFIX[".odt"], ["forty-three"])
    assert words_of(real, b"{\\rtf1\\ansi forty-four}") == (BY_SUFFIX[".rtf"], ["forty-four"])


@pytest.mark.soak
@pytest.mark.program("soffice")
def test_nothing_that_a_page_names_is_fetched(real: tuple[Sandbox, Office], tmp_path: Path) -> None:
    (tmp_path / "near.png").write_bytes(image_bytes(corner_image(), "PNG"))
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

        do_HEAD = do_OPTIONS = do_PROPFIND = do_GET

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        links = (f"file://{tmp_path}/near.png", f"http://127.0.0.1:{server.server_port}/far.png")
        pictures = "".join(f'<img src="{link}" width="50" height="50">' for link in links)
        page = f"<html><body><p>before</p>{pictures}<p>after</p></body></html>"
        with open_any(*real, page.encode(), "x") as opened, pymupdf.open(stream=opened.data) as pdf:
            assert [drawn.get_text().split() for drawn in pdf] == [["before", "after"]]
            assert [drawn.get_images() for drawn in pdf] == [[]]
        server.shutdown()
    assert asked == []


@pytest.mark.soak
@pytest.mark.program("soffice")
def test_killed_in_mid_conversion_it_is_tried_once_more(real: tuple[Sandbox, Office]) -> None:
    killed: list[int] = []

    def kill(times: int) -> None:
        until = time.monotonic() + 60
        while len(killed) < times and time.monotonic() < until:
            for pid in children("soffice.bin"):
                if pid not in killed:
                    time.sleep(0.2)
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.01)

    words_of(real, docx("a"))
    for times in (1, 2):
        killed.clear()
        thread = threading.Thread(target=kill, args=[times])
        thread.start()
        if times == 1:
            assert words_of(real, docx("once"))[1] == ["once"]
        else:
            with pytest.raises(
                DocumentError, match="x could not be converted: LibreOffice was killed"
            ) as failed:
                words_of(real, docx("twice"))
            assert failed.value.reason == "killed"
        thread.join()
    assert words_of(real, docx("after"))[1] == ["after"]


def children(name: str) -> list[int]:
    """This process's children that run a program."""
    found = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(int(pid))
    return found
