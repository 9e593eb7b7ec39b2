"""What an e-mail says itself is pages, and what is attached is a document; both are bounded."""

from email.message import EmailMessage

import pymupdf
import pytest

from pipeline.ingest.file_types import MAIL, DocumentError
from pipeline.rasterize.attached import MOST_DEPTH, MOST_PARTS, Kind
from pipeline.rasterize.containers import Container
from pipeline.rasterize.mail import MOST_LINES, is_mail, text_pdf
from pipeline.rasterize.pdf import open_document, rasterize
from tests.pipeline.drawn import corner_image, image_bytes, pdf_bytes
from tests.pipeline.mails import mail, nested
from tests.pipeline.office_files import docx

PDF = pdf_bytes()
ICS = b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"


def said(data: bytes) -> str:
    with pymupdf.open(stream=text_pdf(data, "x")[0]) as pdf:
        return "\n".join(page.get_text() for page in pdf).replace("\xa0", " ")


def kinds(data: bytes) -> list[tuple[tuple[int, ...], Kind]]:
    return [(found.path, found.kind) for found in Container(data, "x.eml", in_pdfs=False).parts()]


def part(data: bytes, path: tuple[int, ...]) -> bytes:
    return Container(data, "x.eml").part(path)


@pytest.mark.parametrize(
    ("data", "name", "is_one"),
    [
        (bytes(mail()), "x", True),
        (b"Received: from a\r\n\tby b\r\nDate: now\r\n\r\nhello", "x", True),
        (b"From ann Sun Nov 29\nFrom: ann\nTo: bob\n\n", "x", True),
        (b"Subject: a note\nof mine", "x", False),
        (b"Subject: a note\n\nof mine", "note.EML", True),
        (b"To be: or not\nFrom here: on\n", "x", False),
        (b"%PDF-1.4", "x.eml", False),
        (b"", "x.eml", False),
    ],
)
def test_an_e_mail_is_known_by_its_header(data: bytes, name: str, is_one: bool) -> None:
    assert is_mail(data, name) == is_one


def test_its_header_and_its_text_are_pages_that_can_be_drawn() -> None:
    data = bytes(mail("Total: 42 €\n  <b>& more</b>", "Grüße"))
    text = said(data)
    for words in ("From: Ann <ann@example.com>", "Subject: Grüße", "Total: 42 €", "<b>& more</b>"):
        assert words in text
    with open_document(data, "x") as opened:
        assert (opened.media_type, opened.page_count) == (MAIL, 1)
        pixels, note, damaged = rasterize(opened, 1, max_side=256, patch_size=16)
        assert pixels.min() < 128
        assert (note, damaged) == (None, False)


def test_html_is_read_where_there_is_no_plain_text() -> None:
    data = (
        b"From: a\nTo: b\nContent-Type: text/html; charset=iso-8859-1\n\n<head><style>p{}</style></head>"
        + (
            b"<p>Gr\xfc\xdfe<br>from <b>us</b></p><script>no()</script>"
            b"<table><tr><td>a</td><td>1</td></tr></table>"
        )
    )
    lines = [line.strip() for line in said(data).splitlines() if line.strip()]
    assert lines[2:] == ["Grüße", "from us", "a   1"]


def test_an_unknown_charset_is_read_as_utf_8() -> None:
    data = "From: a\nTo: b\nContent-Type: text/plain; charset=x-nobody\n\nGrüße".encode()
    assert "Grüße" in said(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"From: ann@\nTo: <\nSubject: a note\n\nhello", ["From: ann@", "To: <", "Subject: a note", "hello"]),
        (b"From: a\nTo: b\nSubject: =?utf-7?q?+2AA-?=\n\nhello", ["Subject: =?utf-7?q?+2AA-?=", "hello"]),
        (b"From: a\nTo: b\nContent-Type: text/plain; charset=utf-7\n\nhe+2AA-llo", ["he?llo"]),
        (b"From: a\nTo: b\nContent-Type: text/html\n\nhe<![x[y]]>llo", ["hello"]),
    ],
)
def test_what_the_library_cannot_read_is_shown_as_it_is(data: bytes, words: list[str]) -> None:
    text = said(data)
    assert [word for word in words if word not in text] == []
    assert kinds(data) == []


def test_an_attached_e_mail_is_handed_over_as_it_was_and_a_name_that_cannot_be_read_costs_nothing() -> None:
    inner = b"From: ann@\nTo: <\nSubject: " + b"a " * 60 + b"\n\nhello"
    data = (
        b"From: a\nTo: b\nContent-Type: multipart/mixed; boundary=x\n\n"
        b"--x\nContent-Type: message/rfc822\n\n" + inner + b"\n"
        b"--x\nContent-Disposition: attachment; filename*=utf-7''%2b2AA-\n\n" + PDF + b"\n--x--"
    )
    assert kinds(data) == [((1,), Kind.DOCUMENT), ((2,), Kind.DOCUMENT)]
    assert part(data, (1,)) == inner
    assert text_pdf(data, "x")[1] == "attached: message/rfc822, text/plain"


def test_a_long_text_is_cut_and_the_note_says_so() -> None:
    pdf, note = text_pdf(b"From: a\nTo: b\n\n" + b"x\n" * (MOST_LINES + 1), "x")
    assert note == f"only its first {MOST_LINES} lines are read"
    with pymupdf.open(stream=pdf) as opened:
        assert opened.page_count > 100


def test_what_is_attached_is_found_and_named() -> None:
    data = bytes(mail(scan_pdf=PDF, list_docx=docx("a"), when_ics=ICS))
    assert kinds(data) == [((1,), Kind.DOCUMENT), ((2,), Kind.OFFICE), ((3,), Kind.OTHER)]
    assert part(data, (1,)) == PDF
    assert text_pdf(data, "x")[1] == "attached: scan.pdf, list.docx, when.ics"
    with pytest.raises(DocumentError, match=r"x\.eml has no attachment 4"):
        part(data, (4, 1))


def test_a_picture_within_the_text_is_attached_and_another_form_of_the_text_is_not() -> None:
    message = mail("plain")
    message.add_alternative("<p>rich <img src='cid:a'></p>", subtype="html")
    *_, rich = message.iter_parts()
    assert isinstance(rich, EmailMessage)
    rich.add_related(image_bytes(corner_image(), "PNG"), "image", "png", cid="<a>")
    assert kinds(bytes(message)) == [((1,), Kind.DOCUMENT)]
    assert "plain" in said(bytes(message))


def test_an_e_mail_in_an_e_mail_is_a_document_and_so_is_what_it_holds() -> None:
    data = bytes(nested(1, scan_pdf=PDF))
    assert kinds(data) == [((1,), Kind.DOCUMENT), ((1, 1), Kind.DOCUMENT)]
    assert "the innermost" in said(part(data, (1,)))
    assert part(data, (1, 1)) == PDF
    as_file = bytes(mail(inner_eml=bytes(mail(scan_pdf=PDF))))
    assert kinds(as_file) == [((1,), Kind.DOCUMENT), ((1, 1), Kind.DOCUMENT)]


def test_depth_and_number_are_bounded() -> None:
    deep = kinds(bytes(nested(MOST_DEPTH + 3)))
    assert deep == [
        *(((1,) * depth, Kind.DOCUMENT) for depth in range(1, MOST_DEPTH + 1)),
        ((1,) * (MOST_DEPTH + 1), Kind.TOO_DEEP),
    ]
    attachment = b"--x\nContent-Type: image/gif\n\nGIF89a\x01\x00\n"
    many = b"From: a\nTo: b\nContent-Type: multipart/mixed; boundary=x\n\n" + attachment * 10_000
    found = kinds(many)
    assert len(found) == MOST_PARTS + 1
    assert [kind for _, kind in found] == [Kind.DOCUMENT] * MOST_PARTS + [Kind.TOO_MANY]


def test_a_tower_of_multiparts_costs_itself_alone() -> None:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(3_000))
    with pytest.raises(DocumentError, match="x cannot be read as an e-mail"):
        text_pdf(b"From: a\nTo: b\n" + head, "x")
