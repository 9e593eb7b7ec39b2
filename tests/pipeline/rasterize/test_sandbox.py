"""Whatever a document does to the process that opens it, it costs that page alone, and the cause is named."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.evaluation.datasets import rasterizing
from pipeline import opening
from pipeline.ingest.file_types import DocumentError, PageError
from pipeline.plan.limits import MIB, Limits
from pipeline.rasterize.confinement import lacking
from pipeline.rasterize.pdf import open_document, rasterize
from pipeline.rasterize.sandbox import Document, Sandbox
from pipeline.rasterize.supervisor import Child, SharedBuffer
from tests.pipeline.drawn import corner_image, image_bytes, pdf_bytes
from tests.pipeline.rasterize import damaged_pdfs

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[3]
DOUBLE_FREE = ROOT.parent / "shared" / "pdfs" / "grobid__GuidelinesTrainingData.pdf"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    found = Sandbox(Limits(page_seconds=1, page_bytes=300 * MIB, document_pages=30))
    yield found
    found.close()


@pytest.fixture(autouse=True)
def no_other_sandbox() -> None:
    end_cached_sandboxes()


def end_cached_sandboxes() -> None:
    """Those that other tests have left in this process, if any: to collect garbage takes seconds here."""
    opening.sandbox_of.cache_clear()
    rasterizing.sandbox.cache_clear()
    if children_of(os.getpid()):
        gc.collect()


def reasons(document: Document, max_side: int = 64) -> list[str | None]:
    """Of each page why it failed, or None."""
    found: list[str | None] = []
    for page in range(1, document.page_count + 1):
        try:
            document.draw(page, max_side=max_side, patch_size=16)
        except PageError as error:
            found.append(error.reason)
        else:
            found.append(None)
    return found


def child_pid() -> int:
    (pid,) = children_of(os.getpid())
    return pid


def children_of(parent: int) -> list[int]:
    """The processes of sandboxes that `parent` has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"pipeline.rasterize.sandbox_main" in command and command[5] == str(parent).encode():
            found.append(int(folder.name))
    return found


def nested_forms(depth: int) -> bytes:
    """A page of a few hundred bytes that MuPDF draws for ever: each form draws the next one ten times."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R 4 0 R 5 0 R 6 0 R 7 0 R 8 0 R]/Count 6>>",
    ]
    good = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>"
    bad = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 9 0 R/Resources<</XObject<</F 10 0 R>>>>>>"
    objects += [good, bad, good, bad, bad, bad]
    objects.append(b"<</Length 4>>stream\n/F Do\nendstream")
    for level in range(depth):
        draw = b"/F Do " * 10 if level + 1 < depth else b"0 0 9 9 re f"
        objects.append(
            b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</F %d 0 R>>>>/Length %d>>"
            b"stream\n%b\nendstream" % (11 + level, len(draw), draw)
        )
    numbered = (b"%d 0 obj%bendobj" % (number, body) for number, body in enumerate(objects, start=1))
    return b"%PDF-1.4\n" + b"\n".join(numbered) + b"\ntrailer<</Root 1 0 R>>"


@pytest.mark.parametrize("kind", ["pdf", "png", "tiff"])
def test_pages_come_as_they_are_drawn_without_a_sandbox(sandbox: Sandbox, kind: str) -> None:
    frames = [corner_image(300, 200), corner_image(90, 80)]
    data = {
        "pdf": pdf_bytes([(300, 200), (200, 300)]),
        "png": image_bytes(frames[0], "PNG"),
        "tiff": image_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
    }[kind]
    with sandbox.open(data, "x") as document, open_document(data, "x") as opened:
        assert (document.media_type, document.page_count) == (opened.media_type, opened.page_count)
        for page in range(1, opened.page_count + 1):
            pixels, note, damaged = document.draw(page, max_side=256, patch_size=16)
            expected, *facts = rasterize(opened, page, max_side=256, patch_size=16)
            np.testing.assert_array_equal(pixels, expected)
            assert [note, damaged] == facts
    assert sandbox.starts == 1


def test_documents_share_a_child(sandbox: Sandbox) -> None:
    for _ in range(3):
        with sandbox.open(pdf_bytes([(9, 9)] * 2), "x") as document:
            assert reasons(document) == [None, None]
    assert sandbox.starts == 1


def test_two_open_documents_take_turns(sandbox: Sandbox) -> None:
    one, two = sandbox.open(pdf_bytes([(90, 90)]), "one"), sandbox.open(pdf_bytes([(90, 45)]), "two")
    shapes = [document.draw(1, max_side=64, patch_size=16)[0].shape[:2] for document in (one, two, one)]
    assert shapes == [(64, 64), (32, 64), (64, 64)]


def test_an_error_keeps_its_reason_and_its_message(sandbox: Sandbox) -> None:
    with pytest.raises(DocumentError, match="broken is of an unknown kind") as caught:
        sandbox.open(b"nothing", "broken")
    assert caught.value.reason == "unsupported_type"
    assert sandbox.starts == 1


def test_more_pages_than_the_limit_are_refused(sandbox: Sandbox) -> None:
    with pytest.raises(DocumentError, match=r"x has 31 pages, the limit is 30 .--document-pages") as caught:
        sandbox.open(pdf_bytes([(9, 9)] * 31), "x")
    assert caught.value.reason == "too_many_pages"


@pytest.mark.skipif(not DOUBLE_FREE.exists(), reason=f"there is no {DOUBLE_FREE}")
def test_a_page_on_which_mupdf_s_display_list_aborts_costs_no_other(sandbox: Sandbox) -> None:
    data = bytearray(DOUBLE_FREE.read_bytes())
    data[73310] = 143
    with sandbox.open(bytes(data), "x") as document:
        first, *others = reasons(document)
    assert first in (None, "crash")  # drawn without a display list it passes
    assert others == [None] * 10


def test_pages_that_hang_time_out_and_after_three_of_them_no_more_are_tried(sandbox: Sandbox) -> None:
    started = time.monotonic()
    with sandbox.open(nested_forms(30), "x") as document:
        assert reasons(document) == [None, "timeout", None, "timeout", "timeout", "timeout"]
        with pytest.raises(PageError, match="was not tried: 3 other pages took too long"):
            document.draw(2, max_side=64, patch_size=16)
    assert sandbox.starts == 3
    assert time.monotonic() - started > 3


def test_a_document_has_so_much_time_for_all_of_its_pages() -> None:
    sandbox = Sandbox(Limits(page_seconds=0.3, document_seconds=0.5))
    errors: list[PageError] = []
    with sandbox.open(nested_forms(30), "x") as document:
        for page in range(1, 7):
            try:
                document.draw(page, max_side=64, patch_size=16)
            except PageError as error:
                errors.append(error)
    assert {error.reason for error in errors} == {"timeout"}
    assert [error.message for error in errors] == [
        "page 2 of x took more than 0.3 s (--page-timeout)",
        "page 4 of x took more than was left of its document's 0.5 s (--document-timeout)",
        "page 5 of x was not tried: others took the document's 0.5 s (--document-timeout)",
        "page 6 of x was not tried: others took the document's 0.5 s (--document-timeout)",
    ]
    sandbox.close()


def test_a_bomb_is_a_failure_for_memory(sandbox: Sandbox) -> None:
    side = 11_000  # 121 megapixels, below the limit on those
    bomb = image_bytes(Image.new("L", (side, side)), "PNG", compress_level=1)
    with sandbox.open(bomb, "x") as document:
        with pytest.raises(PageError, match=r"page 1 of x took more than 300 MiB .--page-memory") as caught:
            document.draw(1, max_side=64, patch_size=16)
        assert caught.value.reason == "memory"
    with sandbox.open(pdf_bytes(), "y") as document:
        assert reasons(document) == [None]


def test_a_child_that_somebody_kills_costs_nothing(sandbox: Sandbox) -> None:
    with sandbox.open(pdf_bytes([(9, 9)] * 3), "x") as document:
        for number in (signal.SIGKILL, signal.SIGSEGV):
            os.kill(child_pid(), number)
            assert reasons(document) == [None] * 3
    os.kill(child_pid(), signal.SIGKILL)
    assert sandbox.open(pdf_bytes(), "y").page_count == 1
    assert sandbox.starts == 4


@pytest.mark.parametrize(
    ("number", "reason", "says"),
    [
        (signal.SIGSEGV, "crash", r"page 2 of x crashed the process that opened it \(SIGSEGV\)"),
        (signal.SIGABRT, "crash", r"page 2 of x crashed the process that opened it \(SIGABRT\)"),
        (signal.SIGKILL, "killed", "page 2 of x could not be finished"),
    ],
)
def test_a_page_whose_child_dies_twice_is_a_failure_and_the_next_is_drawn(
    number: signal.Signals, reason: str, says: str
) -> None:
    sandbox = Sandbox(Limits())
    document = sandbox.open(nested_forms(30), "x")

    def end_two() -> None:
        ended: set[int] = set()
        while len(ended) < 2:
            time.sleep(0.1)
            for pid in set(children_of(os.getpid())) - ended:
                if time.clock_gettime((~pid << 3) | 2) > 1.5:  # it takes 0.4 s to start: now it draws
                    os.kill(pid, number)
                    ended.add(pid)

    other = threading.Thread(target=end_two)
    other.start()
    try:
        with pytest.raises(PageError, match=says) as caught:
            document.draw(2, max_side=64, patch_size=16)
        assert caught.value.reason == reason
    finally:
        other.join()
    assert sandbox.starts == 2
    document.draw(3, max_side=64, patch_size=16)
    sandbox.close()


def test_a_child_dies_with_its_worker_even_while_it_hangs(tmp_path: Path) -> None:
    (tmp_path / "hangs.pdf").write_bytes(nested_forms(30))
    program = f"""
from pathlib import Path
from pipeline.plan.limits import Limits
from pipeline.rasterize.sandbox import Sandbox
document = Sandbox(Limits(page_seconds=600)).open(Path({str(tmp_path)!r}, "hangs.pdf").read_bytes(), "x")
print("open", flush=True)
document.draw(2, max_side=64, patch_size=16)
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"open\n"
        (pid,) = children_of(worker.pid)
        time.sleep(0.3)
        worker.kill()
    deadline = time.monotonic() + 100
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_is_given_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of the worker")
    child = Child(Limits(), SharedBuffer(3 * 4096**2))
    (pid,) = children_of(os.getpid())
    assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    child.kill()
    assert children_of(os.getpid()) == []


def test_a_child_is_confined_and_holds_nothing_of_its_worker_s() -> None:
    child = Child(Limits(), SharedBuffer(3 * 4096**2))
    folder = Path(f"/proc/{child_pid()}")
    fields = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    held = {os.readlink(file).partition(":")[0] for file in (folder / "fd").iterdir()}
    assert held == {"/dev/null", "/memfd", "pipe", "socket"}
    assert child.lacks == lacking()
    child.kill()


def test_a_machine_that_lacks_a_part_of_the_confinement_can_be_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Child, "_reply", lambda *arguments: {"lacks": "Landlock"})
    child = Child(Limits(), SharedBuffer(3 * 4096**2))
    assert child.lacks == "Landlock"
    child.kill()
    with pytest.raises(RuntimeError, match=r"--require-sandbox: .* lacks Landlock"):
        Child(Limits(sandbox_required=True), SharedBuffer(3 * 4096**2))
    assert children_of(os.getpid()) == []


def test_a_large_document_counts_on_top_of_the_limit() -> None:
    """300 MiB for a page: its file of 160 MiB lies in the child too, for a moment twice."""
    sandbox = Sandbox(Limits(page_bytes=300 * MIB))
    data = pdf_bytes() + bytes(160 * MIB)
    with sandbox.open(data, "x") as document:
        assert reasons(document) == [None]
    assert sandbox.starts == 1
    sandbox.close()


def test_a_sandbox_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.rasterize.supervisor.ROOT", ROOT / "tests")
    with pytest.raises(RuntimeError, match=r"does not start: .*No module named"):
        Sandbox(Limits()).open(pdf_bytes(), "x")


def test_the_limits_are_checked() -> None:
    for seconds in (0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"--page-timeout .*: it must be above 0, 86400 .a day. at most"):
            Limits(page_seconds=seconds)
    with pytest.raises(ValueError, match="--document-timeout 0: it must be above 0"):
        Limits(document_seconds=0)
    with pytest.raises(ValueError, match="--page-memory 100: it must be at least 256 MiB"):
        Limits(page_bytes=100 * MIB)
    with pytest.raises(ValueError, match="--document-pages 0: it must be at least 1"):
        Limits(document_pages=0)


def test_damage_is_looked_for_without_a_call_that_the_child_may_not_make(sandbox: Sandbox) -> None:
    """NumPy, for one, loads parts of itself when they are first used, and the child cannot open a file."""
    for kind in damaged_pdfs.IMAGES:
        entries, data = damaged_pdfs.encoded(kind)
        for layout in (damaged_pdfs.SCAN, damaged_pdfs.LOGO):
            for damage in damaged_pdfs.DAMAGES:
                hurt = damaged_pdfs.image_page(entries, damage(data), layout)
                with suppress(DocumentError, PageError), sandbox.open(hurt, kind) as document:
                    document.draw(1, max_side=512, patch_size=16)
    assert sandbox.starts == 1
