"""What is attached to an e-mail is a document of the run, and whatever one holds costs itself alone."""

from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from pipeline import flow
from pipeline.ingest.file_types import MAIL, MAX_TRAVEL_SIDE, DocumentError
from pipeline.ingest.reading import read_source
from pipeline.ingest.sources import is_attached
from pipeline.plan.limits import Limits
from pipeline.rasterize import attachments
from pipeline.rasterize.attached import MOST_DEPTH, MOST_PARTS
from pipeline.rasterize.ipc import Message
from pipeline.rasterize.sandbox import Sandbox
from tests.pipeline.drawn import corner_image, image_bytes, pdf_bytes
from tests.pipeline.ingest.listed import parquet
from tests.pipeline.local import Killed, Machine
from tests.pipeline.mails import mail, nested
from tests.pipeline.office_files import docx
from tests.pipeline.portfolios import locked, portfolio

pytestmark = pytest.mark.processes
PDF = pdf_bytes([(100, 100)] * 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def machine(tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)


def documents(machine: Machine) -> dict[str, dict[str, Any]]:
    return {Path(row["uri"]).name: row for row in machine.rows("documents")}


def test_an_attachment_is_a_document_and_so_is_the_e_mail(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "installation", lambda: None)
    picture = image_bytes(corner_image(), "PNG")
    (folder / "a.eml").write_bytes(
        bytes(mail(scan_pdf=PDF, list_docx=docx("a"), red_png=picture, note_ics=b"x"))
    )
    (folder / "b.eml").write_bytes(bytes(nested(1, again_pdf=PDF)))
    record = machine.run(folder)
    found = documents(machine)
    assert {name: (row["media_type"], row["page_count"]) for name, row in found.items()} == {
        "a.eml": (MAIL, 1),
        "a.eml#1": ("application/pdf", 3),
        "a.eml#3": ("image/png", 1),
        "b.eml": (MAIL, 1),
        "b.eml#1": (MAIL, 1),
        "b.eml#1#1": ("application/pdf", 3),
    }
    assert {row["status"] for row in found.values()} == {"complete"}
    assert found["a.eml#1"]["content_key"] == found["b.eml#1#1"]["content_key"]
    assert record["counts"]["documents"] == 6
    assert machine.run(folder)["reused"]["documents"] == 6


def test_an_encoding_that_nobody_knows_costs_nothing() -> None:
    header = b"From: a\nTo: b\nSubject: =?x-nobody?q?a?=\nContent-Type: text/plain; charset=x-nobody\n\nhello"
    sandbox = Sandbox(Limits())
    try:
        with sandbox.open(header, "x") as opened:
            pixels, _, _ = opened.draw(1, max_side=256, patch_size=16)
            assert (opened.media_type, pixels.min() < 128) == (MAIL, True)
        assert sandbox.parts(header, "x.eml") == []
        big = bytes(range(256)) * 2**18  # more than the buffer that it comes through
        assert sandbox.part(bytes(mail(big_bin=big)), "x", [1]) == big
        assert sandbox.starts == 1
    finally:
        sandbox.close()


def test_an_attachment_whose_child_dies_half_way_is_a_failure_and_not_other_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox = Sandbox(Limits())
    once = sandbox._once

    def killed(request: Message, *rest: Any) -> Message:
        if request["do"] == "more":
            sandbox.close()
        return once(request, *rest)

    monkeypatch.setattr(sandbox, "_once", killed)
    big = bytes(3 * MAX_TRAVEL_SIDE**2 + 1)
    with pytest.raises(DocumentError, match="x could not be read: its process was killed meanwhile"):
        sandbox.part(bytes(mail(big_bin=big)), "x", [1])
    sandbox.close()


def test_a_run_that_was_killed_asks_no_attachment_twice(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.eml").write_bytes(bytes(mail(scan_pdf=PDF, red_png=image_bytes(corner_image(), "PNG"))))
    with pytest.raises(Killed):
        machine.run(folder, kill_after=3)
    monkeypatch.setattr("pipeline.commit.delta_log.is_dead", lambda said: True)
    monkeypatch.setattr("pipeline.commit.lease.is_dead", lambda said: True)
    before = len(machine.rows("answers/text"))
    assert before > 0
    machine.run(folder)
    assert machine.asked == len(machine.items()) - before
    assert {row["status"] for row in documents(machine).values()} == {"complete"}
    assert len(documents(machine)) == 3


@pytest.mark.parametrize("reads", ["read_source", "read_password"])
def test_an_e_mail_that_cannot_be_fetched_is_a_failure_and_loses_no_attachment(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    (folder / "a.eml").write_bytes(bytes(mail(scan_pdf=PDF)))
    (folder / "b.eml").write_bytes(bytes(mail(scan_pdf=PDF)))

    read = getattr(attachments, reads)

    def down(source: dict[str, Any], *rest: Any) -> Any:
        if source["uri"].endswith("a.eml"):
            raise DocumentError("unreadable", f"{source['uri']}: the store is down")
        return read(source, *rest)

    monkeypatch.setattr(attachments, "PART_ROWS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(attachments, reads, down)
        machine.run(folder)
    failed = [(Path(row["uri"]).name, row["reason"]) for row in machine.rows("failures")]
    assert set(failed) == {("a.eml", "unreadable")}
    assert "the store is down" in machine.rows("failures")[0]["message"]
    machine.run(folder)
    found = documents(machine)
    assert found.keys() == {"a.eml", "a.eml#1", "b.eml", "b.eml#1"}
    assert found["a.eml#1"]["status"] == "complete"


def test_what_is_too_deep_or_too_much_is_a_failure_of_its_own(machine: Machine, folder: Path) -> None:
    (folder / "deep.eml").write_bytes(bytes(nested(MOST_DEPTH + 3)))
    calendar = b"--x\nContent-Type: text/calendar; name=a.ics\n\nBEGIN:VCALENDAR\n"
    head = b"From: a\nTo: b\nContent-Type: multipart/mixed; boundary=x\n\n"
    (folder / "many.eml").write_bytes(head + calendar * (MOST_PARTS + 10))
    (folder / "bad.eml").write_bytes(b"no header")
    machine.run(folder)
    failed = {Path(row["uri"]).name: (row["reason"], row["message"]) for row in machine.rows("failures")}
    deep, many = f"deep.eml{'#1' * (MOST_DEPTH + 1)}", f"many.eml#{MOST_PARTS + 1}"
    assert failed.keys() == {deep, many, "bad.eml"}
    assert failed[deep][0] == failed[many][0] == "unreadable"
    assert f"holds documents in one another, more than {MOST_DEPTH}: this one is not read" in failed[deep][1]
    assert "has more than 1,000 attachments: those from here on are not read" in failed[many][1]
    assert failed["bad.eml"][0] == "unsupported_type"
    complete = {name for name, row in documents(machine).items() if row["status"] == "complete"}
    assert complete == {"many.eml", *(f"deep.eml{'#1' * depth}" for depth in range(MOST_DEPTH + 1))}


def test_what_is_skipped_is_counted(
    machine: Machine, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "installation", lambda: None)
    (folder / "a.eml").write_bytes(bytes(mail(when_ics=b"x", a_zip=b"y", list_docx=docx("a"))))
    machine.run(folder)
    said = Counter(record.message for record in caplog.records if record.name == attachments.__name__)
    assert said == {
        "skipped 2 attachments that are no documents": 1,
        "skipped 1 attachments that are office files (install LibreOffice to have them read)": 1,
    }


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each document is read, by its name."""
    reads = Counter[str]()

    def read(source: dict[str, Any], *rest: Any) -> bytes:
        reads[Path(source["uri"].partition(".eml#")[0]).name.partition(".pdf#")[0]] += 1
        return read_source(source, *rest)

    monkeypatch.setattr(attachments, "read_source", read)
    return reads


def many(count: int) -> dict[str, bytes]:
    return {f"f{number}_pdf": pdf_bytes([(100, 100 + number)]) for number in range(count)}


def test_an_e_mail_is_read_twice_and_parsed_twice_however_much_is_attached(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, sent = counted(monkeypatch), list[int]()
    once = Sandbox._once

    def ask(self: Sandbox, request: Message, form: Any, data: bytes, name: str) -> Message:
        sent.append(len(data))
        return once(self, request, form, data, name)

    monkeypatch.setattr(Sandbox, "_once", ask)
    inner = mail("inner", **many(4))
    whole = mail("outer", **many(6), inner_eml=bytes(inner))
    (folder / "a.eml").write_bytes(bytes(whole))
    (folder / "b.eml").write_bytes(bytes(mail("alone")))
    machine.run(folder)
    assert len(documents(machine)) == 13
    assert {Path(name).stem: count for name, count in reads.items()} == {"a": 2, "b": 2}
    size = len((folder / "a.eml").read_bytes())
    assert Counter(sent) == {size: 2, 0: 10, len((folder / "b.eml").read_bytes()): 1}


def test_what_is_attached_to_a_pdf_is_a_document_where_that_is_asked_for(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = counted(monkeypatch)
    (folder / "a.pdf").write_bytes(portfolio(**many(5), m_eml=bytes(mail(again_pdf=portfolio(b_pdf=PDF)))))
    (folder / "locked.pdf").write_bytes(locked(portfolio(c_pdf=PDF), "secret"))
    (folder / "plain.png").write_bytes(image_bytes(corner_image(), "PNG"))
    monkeypatch.setattr(flow, "handed_over", nullcontext)  # which is Ray's part
    machine.run(folder, passwords=("secret",))
    assert documents(machine).keys() == {"a.pdf", "locked.pdf", "plain.png"}
    assert reads == {"a.pdf": 1, "locked.pdf": 1, "plain.png": 1}
    reads.clear()
    machine.run(folder, passwords=("secret",), attachments=True)
    found = documents(machine)
    assert found.keys() == {
        *("a.pdf", "locked.pdf", "plain.png", "locked.pdf#1"),
        *(f"a.pdf#{number}" for number in range(1, 7)),
        *("a.pdf#6#1", "a.pdf#6#1#1"),
    }
    assert {row["status"] for row in found.values()} == {"complete"}
    assert reads == {"a": 1, "a.pdf": 1, "locked": 1, "locked.pdf": 1}


def test_e_mails_in_a_column_of_bytes_have_attachments_and_each_value_is_read_once_more(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = counted(monkeypatch)
    mails = [bytes(mail(f"mail {number}", **many(3))) for number in range(5)]
    parquet(folder / "m.parquet", message=[*mails, PDF, None], id=[*"abcdefg"])
    asked: dict[str, Any] = {"column": "message", "id_column": "id"}
    machine.run(folder, **asked)
    assert len(documents(machine)) == 7
    reads.clear()
    machine.run(folder, **asked, attachments=True)
    names = {f"m.parquet#{row}" for row in "abcdefg"}
    names |= {f"m.parquet#{row}#{number}" for row in "abcde" for number in (1, 2, 3)}
    assert documents(machine).keys() == names
    assert sum(reads.values()) == 7 + 5  # of what was done already, only what is attached is read
    assert machine.run(folder, **asked, attachments=True)["reused"]["documents"] == 22


def test_a_document_that_does_not_tell_what_is_attached_is_a_failure_beside_itself(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.pdf").write_bytes(portfolio(b_pdf=PDF))

    def dies(*_: Any, **__: Any) -> Any:
        raise DocumentError("memory", "a.pdf took too much")

    with monkeypatch.context() as patch:
        patch.setattr(Sandbox, "parts", dies)
        machine.run(folder, attachments=True)
    assert {row["message"] for row in machine.rows("failures")} == {
        f"what is attached to {folder}/a.pdf is not known: a.pdf took too much"
    }
    assert {name: row["status"] for name, row in documents(machine).items()} == {
        "a.pdf": "complete",
        "a.pdf#1": "failed",
    }
    machine.carry_out(machine.prepare(folder, frozenset({"unreadable"}), attachments=True))
    assert {row["status"] for row in documents(machine).values()} == {"complete"}
    assert machine.rows("failures") == []


def test_documents_that_are_done_anew_stay_beside_what_is_attached_to_them(
    machine: Machine, folder: Path
) -> None:
    for name in "abc":
        (folder / f"{name}.eml").write_bytes(bytes(mail(name, **many(3))))
    machine.run(folder, attachments=True)
    prepared = machine.prepare(folder, max_new_tokens=3)
    sources = prepared.remaining.sources
    machine.carry_out(prepared)
    assert len(sources) == 12
    assert sum(is_attached(sources)) == 9
