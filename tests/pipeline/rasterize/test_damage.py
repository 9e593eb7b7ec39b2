"""A PDF page that MuPDF draws with something missing is a failure or is marked; a whole page is neither."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.ingest.file_types import PageError
from pipeline.rasterize import damage
from pipeline.rasterize.pdf import open_document, rasterize
from tests.pipeline.rasterize.damaged_pdfs import (
    IMAGES,
    LOGO,
    SCAN,
    TEXT,
    encoded,
    garbage,
    garbage_behind,
    image_page,
    nothing,
    page,
    stream,
    truncated,
)
from tests.pipeline.rasterize.drawing import page_reason

FAULTS = Path(__file__).resolve().parents[4] / "shared" / "faults"
FLATE = b"/Filter/FlateDecode"
PACKED = zlib.compress(TEXT)
FORM = b"/Type/XObject/Subtype/Form/BBox[0 0 200 200]/Resources<</Font<</F0 5 0 R>>>>"
XOBJECT = b"/XObject<</Im0 6 0 R>>"


def verdict(data: bytes, number: int = 1) -> tuple[bool, str | None]:
    """Whether the page is marked, and its note."""
    with open_document(data, "x") as opened:
        _, note, damaged = rasterize(opened, number, max_side=512, patch_size=16)
    return damaged, note


@pytest.mark.parametrize("layout", [SCAN, LOGO], ids=["scan", "logo"])
@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_that_is_whole_is_not_marked(kind: str, layout: bytes) -> None:
    assert verdict(image_page(*encoded(kind), layout)) == (False, None)


# What MuPDF's decoders let pass without a word: noise that is pixels, and wrong bits of these codings.
UNTOLD = {("raw", garbage_behind), ("raw", garbage), ("dct", garbage_behind), ("jbig2", garbage_behind)}
UNTOLD |= {("jbig2", truncated)}
DAMAGES: list[tuple[str, Callable[[bytes], bytes]]] = [
    (kind, change)
    for kind in IMAGES
    for change in (truncated, garbage_behind, garbage, nothing)
    if (kind, change) not in UNTOLD
]
# A progressive JPEG whose last passes are gone has all its rows, as JPEG 2000 has, but not as sharp.
BLURRED = {("progressive", truncated), ("jpx", garbage_behind)}


@pytest.mark.parametrize(("kind", "change"), DAMAGES, ids=lambda value: getattr(value, "__name__", value))
def test_a_scan_that_is_damaged_is_a_page_that_failed_and_a_logo_a_note(
    kind: str, change: Callable[[bytes], bytes]
) -> None:
    entries, data = encoded(kind)
    if (kind, change) in BLURRED:
        assert verdict(image_page(entries, change(data), SCAN))[0]
    else:
        assert page_reason(image_page(entries, change(data), SCAN)) == "damaged_page"
    if (kind, change) == ("jpx", truncated):  # MuPDF draws nothing behind it: a page that failed
        assert page_reason(image_page(entries, change(data), LOGO)) == "damaged_page"
        return
    damaged, note = verdict(image_page(entries, change(data), LOGO))
    assert damaged
    assert note is not None
    assert note.startswith("damaged: ")


def test_a_scan_of_strips_that_lost_one_of_ten_is_there_for_the_most_part() -> None:
    entries, data = encoded("flate")
    about = b"/Type/XObject/Subtype/Image/Width 800/Height 800"
    strips = b"".join(b"q 200 0 0 20 0 %d cm /Im%d Do Q\n" % (20 * row, row == 3) for row in range(10))
    others = {6: stream(about + entries, data), 7: stream(about + entries, garbage(data))}
    resources = b"/XObject<</Im0 6 0 R/Im1 7 0 R>>"
    assert verdict(page(strips, resources=resources, others=others))[0]


def test_a_background_that_is_lost_leaves_the_text_before_it() -> None:
    entries, data = encoded("dct")
    assert verdict(image_page(entries, truncated(data), SCAN + TEXT))[0]
    stamp = b"BT /F0 6 Tf 10 10 Td (ABC-000123) Tj ET\n"
    assert page_reason(image_page(entries, truncated(data), SCAN + stamp)) == "damaged_page"
    invisible = b"3 Tr " + TEXT  # what OCR put under the scan
    assert page_reason(image_page(entries, truncated(data), SCAN + invisible)) == "damaged_page"


LOST: dict[str, bytes] = {
    "content cut": page({4: stream(FLATE, truncated(PACKED))}),
    "content is noise": page({4: stream(FLATE, garbage(PACKED))}),
    "content is noise from its middle": page({4: stream(FLATE, garbage_behind(PACKED))}),
    "content is empty": page({4: stream(FLATE, b"")}),
    "content is no object": page(TEXT, contents=b"99 0 R"),
    "content is no stream": page({4: b"<</A 1>>"}),
    "content has another filter": page({4: stream(b"/Filter/FooDecode", PACKED)}),
    "image is no resource": page(SCAN),
    "image is no object": page(SCAN, resources=b"/XObject<</Im0 99 0 R>>"),
    "image has no width": page(
        SCAN, resources=XOBJECT, others={6: stream(b"/Subtype/Image/Height 9" + FLATE, PACKED)}
    ),
    "image has no colour space": page(
        SCAN,
        resources=XOBJECT,
        others={6: stream(b"/Subtype/Image/Width 9/Height 9/BitsPerComponent 8/ColorSpace/Foo", b"x" * 81)},
    ),
    "image's mask is noise": page(
        SCAN,
        resources=XOBJECT,
        others={
            6: stream(
                b"/Subtype/Image/Width 800/Height 800/SMask 7 0 R" + encoded("flate")[0], encoded("flate")[1]
            ),
            7: stream(b"/Subtype/Image/Width 800/Height 800" + encoded("flate")[0], garbage(PACKED)),
        },
    ),
    "form is noise": page(b"/Im0 Do", resources=XOBJECT, others={6: stream(FORM + FLATE, garbage(PACKED))}),
    "graphics state is no resource, and nothing is there": page(b"/G gs"),
    "pattern is no resource": page(b"/Pattern cs /P scn 0 0 100 100 re f"),
    "glyphs of a font are noise": page(
        TEXT,
        fonts=b"<</F0 8 0 R>>",
        others={
            8: b"<</Type/Font/Subtype/Type3/FontBBox[0 0 1 1]/FontMatrix[1 0 0 1 0 0]/CharProcs<</a 9 0 R>>"
            b"/Encoding<</Differences[97/a]>>/FirstChar 97/LastChar 97/Widths[1]/Resources<<>>>>",
            9: stream(FLATE, garbage(PACKED)),
        },
    ),
}


@pytest.mark.parametrize("kind", LOST)
def test_a_page_of_which_next_to_nothing_is_there_has_failed(kind: str) -> None:
    assert page_reason(LOST[kind]) == "damaged_page"


def embedded(program: bytes, key: bytes = b"FontFile2") -> bytes:
    descriptor = b"<</Type/FontDescriptor/FontName/A+B/Flags 4/FontBBox[0 0 9 9]/%b 7 0 R>>" % key
    font = b"<</Type/Font/Subtype/TrueType/BaseFont/A+B/FontDescriptor 6 0 R>>"
    return page(TEXT, fonts=b"<</F0 8 0 R>>", others={6: descriptor, 7: program, 8: font})


PARTS: dict[str, bytes] = {
    "one of three streams is noise": page(
        {4: stream(b"", TEXT), 10: stream(FLATE, garbage(PACKED)), 11: stream(b"", b"0 0 9 9 re f")},
        contents=b"[4 0 R 10 0 R 11 0 R]",
    ),
    "one of two streams is missing": page(TEXT, contents=b"[4 0 R 99 0 R]"),
    "wrong checksum": page({4: stream(FLATE, PACKED[:-4] + b"abcd")}),
    "noise among the operators": page(TEXT[:600] + garbage(b"x" * 500) + TEXT[600:]),
    "form is no object": page(b"/Fm Do " + TEXT, resources=b"/XObject<</Fm 99 0 R>>"),
    "shading is no resource": page(b"/S sh " + TEXT),
    "inline image is cut": page(TEXT + b"q 50 0 0 50 0 0 cm BI /W 10/H 10/CS/G/BPC 8 ID xxxxxxxx EI Q"),
    "font is noise": embedded(stream(b"", garbage(PACKED))),
    "font is no object": embedded(b"null"),
    "stamp is noise": page(
        TEXT,
        extra=b"/Annots[7 0 R]",
        others={
            7: b"<</Type/Annot/Subtype/Stamp/Rect[0 0 99 99]/AP<</N 8 0 R>>>>",
            8: stream(FORM + FLATE, garbage(PACKED)),
        },
    ),
}


@pytest.mark.parametrize("kind", PARTS)
def test_a_page_of_which_a_part_is_lost_is_marked_and_says_what(kind: str) -> None:
    damaged, note = verdict(PARTS[kind])
    assert damaged
    assert note is not None
    assert note.startswith("damaged: ")


WHOLE: dict[str, bytes] = {
    "plain": page(),
    "length too short": page({4: stream(b"", TEXT, length=99)}),
    "length too long": page({4: stream(b"", TEXT, length=10**6)}),
    "image's length too short": image_page(*encoded("flate"), SCAN, length=99),
    "unknown operator": page(TEXT + b" 1 2 foo "),
    "unknown operators that may be ignored": page(TEXT + b" BX 1 a 2 b 3 c 4 d EX "),
    "more is restored than saved": page(TEXT + b" Q Q "),
    "less is restored than saved": page(b"q q " + TEXT),
    "graphics state is no resource": page(b"/G gs " + TEXT),
    "JPEG without its end": image_page(encoded("dct")[0], encoded("dct")[1][:-2], SCAN),
    "profile is noise": page(
        SCAN,
        resources=XOBJECT,
        others={
            6: stream(
                b"/Subtype/Image/Width 800/Height 800/ColorSpace[/ICCBased 7 0 R]/BitsPerComponent 8" + FLATE,
                encoded("flate")[1],
            ),
            7: stream(b"/N 1/Alternate/DeviceGray", garbage(PACKED)),
        },
    ),
    "the page's blending colours": page(extra=b"/Group<</S/Transparency/CS[/ICCBased 99 0 R]>>"),
    "table of places is wrong": page().replace(b"xref\n0", b"xref\n9"),
    "empty": page(b""),
    "one colour, and an error that costs nothing": page(b"/G gs 1 0 0 rg 0 0 200 200 re f"),
    "one colour": page(b"0 0 1 rg 0 0 200 200 re f"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_what_costs_a_page_nothing_is_not_marked(kind: str) -> None:
    assert verdict(WHOLE[kind]) == (False, None)


def test_an_image_that_pages_share_is_damaged_on_each_of_them() -> None:
    entries, data = encoded("flate")
    several = image_page(entries, truncated(data), SCAN)
    several = several.replace(b"/Kids[3 0 R]/Count 1", b"/Kids[3 0 R 7 0 R 8 0 R 3 0 R]/Count 4")
    copies = b"".join(
        b"%d 0 obj\n<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents %d 0 R"
        b"/Resources<</Font<</F0 5 0 R>>/XObject<</Im0 6 0 R>>>>>>\nendobj\n" % (number, content)
        for number, content in ((7, 4), (8, 9))
    )
    copies += b"9 0 obj\n" + stream(b"", TEXT) + b"\nendobj\n"
    several = several.replace(b"%PDF-1.7\n", b"%PDF-1.7\n" + copies)
    with open_document(several, "x") as opened:
        reasons: list[str | bool] = []
        for number in (1, 2, 3, 1):
            try:
                reasons.append(rasterize(opened, number, max_side=256, patch_size=16)[2])
            except PageError as error:
                reasons.append(error.reason)
    assert reasons == ["damaged_page", "damaged_page", False, "damaged_page"]


def test_a_note_holds_no_commands_of_terminals() -> None:
    damaged, note = verdict(page(TEXT + b"/Fm\x1b[31m#0aDo Do", resources=b"/XObject<<>>"))
    assert damaged
    assert note is not None
    assert note.isprintable()


def test_memory_that_was_missing_while_a_page_was_drawn_is_told_from_its_warnings() -> None:
    assert damage.lacks_memory("system error: malloc (500 bytes) failed")
    assert damage.lacks_memory("code=2: calloc (5 x 8 bytes) failed")
    assert not damage.lacks_memory("padding truncated image")


def test_warnings_are_losses_by_their_kind() -> None:
    said = "premature end of data in flate filter\n... repeated 2 times...\nPDF stream Length incorrect\n"
    said += (
        "library error: a new one\nsyntax error: unknown keyword: 'a'\npremature end of data in flate filter"
    )
    assert damage.losses(said) == ["premature end of data in flate filter", "library error: a new one"]
    unseen = "FT_Load_Glyph(HiddenHorzOCR,121,FT_LOAD_NO_HINTING): invalid argument\ncannot render glyph\n"
    assert damage.losses(unseen) == damage.losses(unseen.replace("Hidden", "ABCDEF+Hidden")) == []
    assert damage.losses(unseen + unseen.replace("HiddenHorzOCR", "Times")) == ["cannot render glyph"]
    said = "".join(f"syntax error: unknown keyword: '{word}'\n" for word in "abc")
    assert len(damage.losses(said)) == 3


def test_cells_that_show_something_are_counted() -> None:
    blank = np.full((512, 256, 3), 200, np.uint8)
    assert damage.shown(blank) == 0
    blank[:16, :16, 1] = 0
    assert damage.shown(blank) == 1 / 512
    blank[300:] = 100
    assert 0.3 < damage.shown(blank) < 0.5
    assert damage.shown(np.zeros((3, 5, 3), np.uint8)) == 0


BROKEN = "content_flate_broken scan_filter_unknown scan_flate_garbage scan_flate_truncated".split()
BROKEN += "scan_jpeg_header_broken scan_jpeg_truncated_half pdfjs__bitmap-symbol-texthuffrefineB15".split()


@pytest.mark.skipif(not FAULTS.exists(), reason=f"there are no faults at {FAULTS}")
@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_file_of_the_collection_is_flagged(name: str) -> None:
    assert page_reason((FAULTS / f"{name}.pdf").read_bytes()) == "damaged_page"
