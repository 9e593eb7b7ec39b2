"""An e-mail (RFC 5322, MIME) in; its own text as a PDF, and its attachments, out.

The text is that of the first plain part, or what an HTML part says, without its form: nothing is fetched for
it. What is attached, a picture inside a text included, is a document of its own; an e-mail in an e-mail too.
These are hostile bytes: a run gets here in the sandbox alone.
"""

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from email.errors import MessageError
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import EmailPolicy
from functools import partial
from html.parser import HTMLParser
from typing import Any, Final

import pymupdf

from pipeline.ingest.file_types import MAIL, SNIFFED_BYTES, DocumentError
from pipeline.rasterize.damage import printable
from pipeline.rasterize.files import File

MOST_TEXT: Final = 500_000  # characters of an e-mail's text: some 200 pages
MOST_LINES: Final = 20_000  # some 350 pages
MOST_NAMED: Final = 5  # attachments
# Of Python's parser, which reads a header when it is asked for.
UNREADABLE: Final = (ValueError, LookupError, AttributeError, TypeError, MessageError)
DAMAGED: Final = (*UNREADABLE, RecursionError)
HEADERS: Final = ("From", "To", "Cc", "Date", "Subject")

_UNIX_FROM: Final = re.compile(rb"From [^\n]*\n")  # before an e-mail out of a mailbox
_HEADER: Final = re.compile(rb"([!-9;-~]+)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*\n")
_KNOWN: Final = frozenset(
    b"from to cc subject date message-id received return-path mime-version delivered-to reply-to"
    b" content-type dkim-signature".split()
)
_STYLE: Final = "body {font-family: sans-serif; font-size: 10pt} p {margin: 0; white-space: pre-wrap}"
_PAPER: Final = pymupdf.paper_rect("a4")
_MARGIN: Final = (50, 50, -50, -50)  # points


class _Policy(EmailPolicy):
    """A header that Python cannot read (`To: ann@`) is its text; one about a part, without its parameters."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        try:
            return super().header_fetch_parse(name, value)
        except UNREADABLE:
            is_about_part = name.lower().startswith("content-")
            return self.header_factory(name, value.partition(";")[0]) if is_about_part else value


_POLICY: Final = _Policy(refold_source="none")  # an e-mail in an e-mail is written as it was read


def is_mail(data: bytes, name: str) -> bool:
    """Whether a file begins with lines of a header; two that e-mails have, unless its name says .eml."""
    start = data[: 8 * SNIFFED_BYTES].replace(b"\r\n", b"\n")
    at = found.end() if (found := _UNIX_FROM.match(start)) else 0
    names = set[bytes]()
    while found := _HEADER.match(start, at):
        names.add(found[1].lower())
        at = found.end()
    return len(names & _KNOWN) >= (1 if name.lower().endswith(".eml") else 2)


def text_pdf(data: bytes, name: str) -> tuple[bytes, str | None]:
    """A PDF of what an e-mail itself says, and a note on it. Raises DocumentError: damaged."""
    with _explained(name):
        return _text_pdf(_parsed(data))


def _text_pdf(message: EmailMessage) -> tuple[bytes, str | None]:
    lines = [(name, _whole(" ".join(str(message[name]).split()))) for name in HEADERS if message[name]]
    whole = _whole(_text_of(message)).expandtabs()
    said = whole[:MOST_TEXT].splitlines()[:MOST_LINES]
    is_cut = len(whole) > MOST_TEXT or len(whole.splitlines()) > MOST_LINES
    notes = [f"only its first {len(said)} lines are read"] if is_cut else []
    if names := [_name_of(leaf) for leaf in _attached(message)]:
        more = [f"and {len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
        notes.append(f"attached: {', '.join(names[:MOST_NAMED] + more)}")
    head = [f"<p><b>{header}:</b> {html.escape(value)}</p>" for header, value in lines]
    body = [f"<p>{html.escape(line) or '&nbsp;'}</p>" for line in said]
    return _printed("".join([*head, "<p>&nbsp;</p>", *body])), "; ".join(notes) or None


def files_of(data: bytes, name: str) -> Iterator[File]:
    """What is attached to an e-mail, in its order. Raises DocumentError: damaged."""
    with _explained(name):
        for leaf in _attached(_parsed(data)):
            called = _name_of(leaf)
            is_mail = leaf.get_content_type() == MAIL or called.lower().endswith(".eml")
            yield File(name=called, is_mail=is_mail, read=partial(_read, leaf, name))


def _read(leaf: EmailMessage, name: str, most: int) -> bytes:
    with _explained(name):
        return _content(leaf)[:most]


def _content(leaf: EmailMessage) -> bytes:
    if leaf.get_content_type() == MAIL and (inner := _inside(leaf)):
        return inner[0].as_bytes()
    payload = leaf.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _inside(message: EmailMessage) -> list[EmailMessage]:
    payload = message.get_payload()
    return [one for one in payload if isinstance(one, EmailMessage)] if isinstance(payload, list) else []


def _attached(message: EmailMessage) -> Iterator[EmailMessage]:
    body = _body_of(message)
    return (leaf for leaf in _leaves(message) if leaf is not body and not _is_text(leaf))


def _name_of(leaf: EmailMessage) -> str:
    return printable(leaf.get_filename() or leaf.get_content_type())


def _is_text(leaf: EmailMessage) -> bool:
    """Another form of the e-mail's own text, or a line below it."""
    return leaf.get_content_maintype() == "text" and not _is_file(leaf)


def _leaves(message: EmailMessage) -> Iterator[EmailMessage]:
    """The parts that hold something, without a look into e-mails that are attached."""
    waiting = [message]
    while waiting:
        one = waiting.pop()
        if one.get_content_maintype() == "multipart":
            waiting += reversed(_inside(one))
        else:
            yield one


def _is_file(part: EmailMessage) -> bool:
    return part.get_filename() is not None or part.get_content_disposition() == "attachment"


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Errors of the parser become a DocumentError."""
    try:
        yield
    except DAMAGED as error:
        raise DocumentError("damaged", f"{name} cannot be read as an e-mail: {error}") from error


def _parsed(data: bytes) -> EmailMessage:
    message = BytesParser(policy=_POLICY).parsebytes(data)
    assert isinstance(message, EmailMessage)
    return message


def _whole(text: str) -> str:
    """Without halves of characters, which some encodings can name, and no page can hold."""
    return text.encode(errors="replace").decode()


def _body_of(message: EmailMessage) -> EmailMessage | None:
    found = message.get_body(("plain", "html"))
    return found if isinstance(found, EmailMessage) else None


def _text_of(message: EmailMessage) -> str:
    body = _body_of(message)
    if body is None:
        return ""
    payload = body.get_payload(decode=True)
    text = _decoded(payload if isinstance(payload, bytes) else b"", body.get_content_charset() or "utf-8")
    return _words_of(text) if body.get_content_type() == "text/html" else text


def _decoded(payload: bytes, charset: str) -> str:
    try:
        return payload.decode(charset, "replace")
    except (LookupError, ValueError):  # no such charset
        return payload.decode("utf-8", "replace")


def _printed(content: str) -> bytes:
    story = pymupdf.Story(html=content, user_css=_STYLE)
    out = io.BytesIO()
    writer = pymupdf.DocumentWriter(out)
    inside, is_more = _PAPER + _MARGIN, True
    while is_more:
        device = writer.begin_page(_PAPER)
        is_more, _ = story.place(inside)
        story.draw(device)
        writer.end_page()
    writer.close()
    return out.getvalue()


class _Words(HTMLParser):
    """The text of a page of HTML, with a new line for each block."""

    LINES: Final = frozenset(
        "address blockquote br div dl dt dd h1 h2 h3 h4 h5 h6 hr li ol p pre table tr ul".split()
    )
    SILENT: Final = frozenset(("head", "script", "style", "title"))

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._silent = 0

    def parse_html_declaration(self, i: int) -> int:
        try:
            return super().parse_html_declaration(i)
        except AssertionError:  # of a mark that Python before 3.11.14 does not know, as <![x[
            return self.parse_bogus_comment(i)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._silent += tag in self.SILENT
        if tag in self.LINES:
            self.said.append("\n")
        elif tag in ("td", "th"):
            self.said.append("   ")

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in self.SILENT))
        if tag in self.LINES:
            self.said.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.said.append(re.sub(r"\s+", " ", data))


def _words_of(page: str) -> str:
    parser = _Words()
    parser.feed(page)
    parser.close()
    lines = (line.strip() for line in "".join(parser.said).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
