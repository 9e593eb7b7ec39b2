"""A table in HTML as OmniDocBench's scorer sees it: without headers, styles and small marks.

In: what a model wrote, however torn. Out: the tree of its first table. The scorer's steps are those of two
libraries: its HTML is read and written anew (Beautiful Soup), cleaned as text, and read again (libxml2).
"""

import html
import re
import unicodedata
import zlib
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Final

from jobs.evaluation.scorers.teds import Node

_ATTRIBUTES: Final = re.compile(r' (?:style|height|width|align|class)=".*?"')
_UNWRAPPED: Final = ("thead", "span")
_BARE: Final = ("sup", "sub", "div", "p")  # dropped where nothing is left of their attributes
_VOID: Final = ("br", "img", "hr", "input", "wbr", "col")
_BLANK: Final = " \n\t\f\r"
_PRIVATE, _PRIVATES = 0xF0000, 0xFFFE  # characters that no text has: Unicode's supplementary private use area


def table_of(text: str) -> Node | None:
    """The first table; None if there is none, or if one of its spans is no number."""
    if "<table" not in text.replace(" ", ""):  # in capitals it is none
        return None
    writer = _Writer()
    writer.feed(text)
    found = re.search(r"<table\b[^>]*>(.*)</table>", writer.whole(), re.DOTALL | re.IGNORECASE)
    inner = html.unescape(found[1]).replace("\n", "") if found else ""
    inner = _ATTRIBUTES.sub("", unicodedata.normalize("NFKC", inner).strip())
    inner = re.sub(r"\s+", " ", re.sub("</?tbody>", "", inner))
    for tag in _BARE:
        inner = inner.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
    parser = _Table()
    parser.feed(re.sub("<colgroup>.*?</colgroup>", "", inner))
    parser.close()
    return parser.table if parser.is_sound else None


class _Writer(HTMLParser):
    """Writes HTML anew: every tag has its end, header cells are cells, formulas of MathML are TeX."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[str] = []
        self._open: list[str] = []
        self._text = ""
        self._maths = 0  # open ones

    def whole(self) -> str:
        """All of it, at the end."""
        self.close()
        self._end_text()
        while self._open:
            self._write_end(self._close_last())
        return "".join(self._written)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._end_text()
        if tag == "math":
            self._put(f"${dict(attrs).get('alttext') or ''}$")
        if tag not in ("math", *_UNWRAPPED):
            values = "".join(f' {name}="{html.escape(value or "", quote=False)}"' for name, value in attrs)
            self._put(f"<{'td' if tag == 'th' else tag}{values}{'/' if tag in _VOID else ''}>")
        if tag not in _VOID:
            self._open.append(tag)
            self._maths += tag == "math"

    def handle_endtag(self, tag: str) -> None:
        self._end_text()
        if tag in self._open:
            while (open_ := self._close_last()) != tag:
                self._write_end(open_)
            self._write_end(tag)

    def handle_data(self, data: str) -> None:
        self._text += data

    def _end_text(self) -> None:
        text, self._text = self._text, ""
        if text and not text.strip(_BLANK):
            text = "\n" if "\n" in text else " "
        self._put(html.escape(text, quote=False))

    def _close_last(self) -> str:
        tag = self._open.pop()
        self._maths -= tag == "math"
        return tag

    def _write_end(self, tag: str) -> None:
        if tag not in ("math", *_UNWRAPPED):
            self._put(f"</{'td' if tag == 'th' else tag}>")

    def _put(self, text: str) -> None:
        if not self._maths:
            self._written.append(text)


class _Table(HTMLParser):
    """The tree of what is in a table. A tag in a cell is a character of its text, and a node, too."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Node(tag="table")
        self.is_sound = True
        """Whether all spans are numbers: a table with another one is wrong."""
        self._open = [self.table]
        self._marks: list[str] = []  # open within a cell

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._open:
            return
        is_part = tag in ("td", "tr") and "table" not in self._marks
        if is_part:
            self._close(("td",) if tag == "td" else ("td", "tr"))
        elif self._open[-1].tag == "td":
            self._open[-1].text += _character(f"<{tag}>")
            self._open[-1].inner += 1
            self._marks.append(tag)
            if tag in _VOID:
                self._unmark(tag)
            return
        node = Node(tag=tag)
        if tag == "td":
            spans = dict(attrs)
            node.colspan, node.rowspan = self._span(spans, "colspan"), self._span(spans, "rowspan")
        self._open[-1].children.append(node)
        if tag not in _VOID:
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._marks:
            self._unmark(tag)
        elif tag == "table":  # another one behind it does not count
            self._open.clear()
        elif tag in [node.tag for node in self._open[1:]]:
            while self._open.pop().tag != tag:
                pass
            self._marks.clear()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1].tag == "td":
            self._open[-1].text += data

    def _close(self, tags: tuple[str, ...]) -> None:
        """HTML may leave end tags of cells and rows out."""
        while len(self._open) > 1 and self._open[-1].tag in tags:
            self._open.pop()
        self._marks.clear()

    def _unmark(self, tag: str) -> None:
        while (mark := self._marks.pop()) != tag:
            self._open[-1].text += _character(f"</{mark}>")
        self._open[-1].text += _character(f"</{tag}>")

    def _span(self, attributes: Mapping[str, str | None], name: str) -> int:
        try:
            return int(attributes.get(name, "1") or "")
        except ValueError:
            self.is_sound = False
            return 1


def _character(tag: str) -> str:
    """One character for a tag: one edit."""
    return chr(_PRIVATE + zlib.crc32(tag.encode(errors="replace")) % _PRIVATES)
