"""Whatever a child that was taken over sends to its worker, it costs that document alone."""

import json
import struct
from collections.abc import Iterator

import pytest

from pipeline.ingest.file_types import DocumentError, PageError
from pipeline.plan.limits import Limits
from pipeline.rasterize.ipc import MOST_TEXT, Malformed, Message
from pipeline.rasterize.replies import DRAWN, MOST_CHARACTERS, OPENED, READY, Form, check
from pipeline.rasterize.sandbox import Sandbox
from tests.pipeline.drawn import pdf_bytes

GOOD_OPENED: Message = {"media_type": "application/pdf", "page_count": 2}
GOOD_DRAWN: Message = {"height": 16, "width": 4096, "note": None, "damaged": False}
GOOD_FAILED: Message = {"reason": "damaged_page", "message": "page 1 of x cannot be drawn"}


@pytest.mark.parametrize(
    ("reply", "form"),
    [
        ({"lacks": None}, READY),
        ({"lacks": "Landlock"}, READY),
        (GOOD_OPENED, OPENED),
        (GOOD_OPENED | {"page_count": 2**31 - 1}, OPENED),
        (GOOD_DRAWN, DRAWN),
        (GOOD_DRAWN | {"height": 4096, "note": "first frame of 3", "damaged": True}, DRAWN),
        (GOOD_FAILED, OPENED),
        (GOOD_FAILED, DRAWN),
    ],
)
def test_what_a_child_replies_passes(reply: Message, form: Form) -> None:
    check(reply, form)


@pytest.mark.parametrize(
    ("reply", "form"),
    [
        (GOOD_FAILED, READY),
        ({}, READY),
        ({}, OPENED),
        (GOOD_OPENED, DRAWN),
        (GOOD_OPENED | {"more": 1}, OPENED),
        *((GOOD_OPENED | {"page_count": bad}, OPENED) for bad in (-1, 0, 2**31, 1.0, True, "1", None, [1])),
        *((GOOD_OPENED | {"media_type": bad}, OPENED) for bad in ("text/html", "", None, 7, ["image/png"])),
        *((GOOD_DRAWN | {"height": bad}, DRAWN) for bad in (10**9, 0, -16, 4097, 16.0, True, "16", None)),
        *((GOOD_DRAWN | {"width": bad}, DRAWN) for bad in (10**40, 0, float("inf"), [2])),
        *((GOOD_DRAWN | {"note": bad}, DRAWN) for bad in (1, ["x"], "x" * (MOST_CHARACTERS + 1), "\ud800")),
        *((GOOD_DRAWN | {"damaged": bad}, DRAWN) for bad in (None, 0, 1, "no")),
        *((GOOD_FAILED | {"reason": bad}, DRAWN) for bad in ("", "a b", "a" * 33, "A", "\x1b", None, 3, "é")),
        *(
            (GOOD_FAILED | {"message": bad}, DRAWN)
            for bad in (None, 3, "x" * (MOST_CHARACTERS + 1), "\udcff")
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused(reply: Message, form: Form) -> None:
    with pytest.raises(Malformed):
        check(reply, form)


def raw(text: int, document: int = 0, rest: bytes = b"") -> str:
    header = struct.pack("<IQ", text, document)
    return f"connection.sendall({header + rest!r}); hear()"


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox whose children do what the document says; a document that is a PDF ends it."""
    monkeypatch.setattr("pipeline.rasterize.supervisor.PROGRAM", "tests.pipeline.rasterize.hostile")
    sandbox = Sandbox(Limits(page_seconds=1))
    yield sandbox
    sandbox.close()


@pytest.mark.processes
@pytest.mark.parametrize(
    ("does", "says"),
    [
        (raw(2**32 - 1), "a reply of 4294967295 bytes and 0 behind them"),
        (raw(MOST_TEXT + 1), "a reply of 65537 bytes"),
        (raw(2, 2**63, b"{}"), "9223372036854775808 behind them"),
        (raw(0), "no JSON"),
        (raw(2, 0, b"{}more"), "with more behind it"),
        (raw(2, 0, b"\xff\xff"), "no JSON"),
        ("say(b'1' * 60000)", "no JSON"),
        ("say(b'[' * 60000)", "no JSON"),
        ("say([1])", "no object of JSON"),
        ("say({})", "with other fields than were asked for"),
        ("say({'media_type': 'application/pdf', 'page_count': 1e9})", "with a page_count that cannot be"),
        ("connection.shutdown(2); import time; time.sleep(99)", "close its end, and go on"),
        ("import os; os.kill(os.getpid(), 50)", r"\(signal 50\)"),
        ("import sys; sys.exit('\\x1b[31m' + 'x' * 9000)", r"exit code 1: .\[31mx{400,500}\)"),
    ],
)
def test_a_reply_that_is_none_is_a_crash_of_its_document(
    hostile: Sandbox, monkeypatch: pytest.MonkeyPatch, does: str, says: str
) -> None:
    if "shutdown" in does:  # it does not end; the others have to be given the time for it
        monkeypatch.setattr("pipeline.rasterize.supervisor.END_SECONDS", 0.2)
    with pytest.raises(DocumentError, match=says) as caught:
        hostile.open(does.encode(), "x")
    assert caught.value.reason == "crash"
    assert len(caught.value.message) < 700
    assert hostile.starts == 2  # a crash is believed the second time


@pytest.mark.processes
@pytest.mark.parametrize("height", [10**9, -1, True, "16", None])
def test_pixels_that_cannot_be_are_a_crash_of_their_page(hostile: Sandbox, height: object) -> None:
    drawn = json.dumps(GOOD_DRAWN | {"height": height})
    document = hostile.open(f"say({GOOD_OPENED}); hear(); say({drawn.encode()!r}); hear()".encode(), "x")
    with pytest.raises(
        PageError, match=r"page 1 of x made the process .* with a height that cannot be"
    ) as caught:
        document.draw(1, max_side=64, patch_size=16)
    assert caught.value.reason == "crash"


@pytest.mark.processes
def test_a_reply_that_comes_in_drops_does_not_last_longer_than_a_page_may(
    hostile: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.rasterize.supervisor.PATIENCE", 0.5)
    drops = "import time\nwhile True:\n connection.sendall(b'\\0'); time.sleep(.1)"
    with pytest.raises(DocumentError, match="took too long, though it computed little") as caught:
        hostile.open(drops.encode(), "x")
    assert caught.value.reason == "timeout"


@pytest.mark.processes
def test_a_child_cannot_take_the_pixels_memory_from_its_worker(hostile: Sandbox) -> None:
    """Where it can, reading them ends the worker with SIGBUS."""
    shrink = f"""
import os
say({GOOD_OPENED})
hear()
try:
    os.ftruncate(buffer_file, 0)
    note = "cut"
except PermissionError:
    note = "refused"
say({GOOD_DRAWN} | {{"note": note}})
hear()
"""
    pixels, note, _ = hostile.open(shrink.encode(), "x").draw(1, max_side=64, patch_size=16)
    assert note == "refused"
    assert pixels.sum() == 0


@pytest.mark.processes
def test_the_next_document_is_read_after_a_hostile_one(
    hostile: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that reads no more leaves nobody waiting, neither in a request nor where one is closed."""
    monkeypatch.setattr("pipeline.rasterize.supervisor.PATIENCE", 0.5)
    deaf = f"say({GOOD_OPENED}); import time; time.sleep(99)".encode()
    with hostile.open(deaf, "x") as document:
        hostile.forget(document)
        with pytest.raises(PageError, match="took too long"):
            document.draw(1, max_side=64, patch_size=16)
    monkeypatch.undo()
    with hostile.open(pdf_bytes(), "y") as document:
        assert document.draw(1, max_side=64, patch_size=16)[0].size
