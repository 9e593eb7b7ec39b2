"""What is inside a file says which office format it is, and that it is encrypted; its name does not."""

import pytest

from pipeline.ingest.file_types import OFFICE, DocumentError
from pipeline.rasterize.office_types import office_type
from tests.pipeline.office_files import archive, container, docx, odt, open_xml


def suffix_of(data: bytes) -> str | None:
    found = office_type(data, "x")
    return found and OFFICE[found].suffixes[0]


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (docx("a"), ".docx"),
        (open_xml("xlsx", ""), ".xlsx"),
        (open_xml("pptx", ""), ".pptx"),
        (odt("a"), ".odt"),
        (archive({"mimetype": "application/vnd.oasis.opendocument.spreadsheet-template"}), ".ods"),
        (
            archive({"[Content_Types].xml": 'ContentType="application/vnd.ms-excel.sheet.binary.main"'}),
            ".xlsx",
        ),
        (
            archive(
                {"[Content_Types].xml": '"application/vnd.ms-powerpoint.slideshow.macroEnabled.main+xml"'}
            ),
            ".pptx",
        ),
        (container("WordDocument", "1Table"), ".doc"),
        (container("\x05SummaryInformation", "Workbook"), ".xls"),
        (container("a", "b", "c", "d", "e", "f", "PowerPoint Document"), ".ppt"),
        (b"{\\rtf1\\ansi a}", ".rtf"),
        (b"<!DOCTYPE html>\n<p>a", ".html"),
        (b'\xef\xbb\xbf <?xml version="1.0"?><!-- a > b --> <HTML lang="en">', ".html"),
        (archive({"mimetype": "application/epub+zip"}), None),
        (archive({"a.txt": "word/document.xml"}), None),
        (container("__properties_version1.0"), None),  # an Outlook message
        (b"<svg></svg>", None),
        (b"<htmlish>", None),
        (b"a < html", None),
    ],
)
def test_a_format_is_told_by_what_is_inside(data: bytes, suffix: str | None) -> None:
    assert suffix_of(data) == suffix


@pytest.mark.parametrize("data", [container("EncryptedPackage", "EncryptionInfo"), odt("a", encrypted=True)])
def test_what_is_encrypted_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentError, match=r"x is an .* save it without its password first") as refused:
        office_type(data, "x")
    assert refused.value.reason == "encrypted"


def test_an_archive_that_is_cut_is_damaged() -> None:
    with pytest.raises(DocumentError, match="x starts like a ZIP archive, as office files do") as refused:
        office_type(docx("a")[:-30], "x")
    assert refused.value.reason == "damaged"


def test_a_damaged_container_ends_the_search() -> None:
    whole = container(*(f"stream {number}" for number in range(20)))
    for size in range(8, len(whole), 61):
        office_type(whole[:size], "x")
    looped = bytearray(whole)
    looped[512 + 4 : 512 + 8] = (1).to_bytes(4, "little")  # the directory's sector is followed by itself
    assert office_type(bytes(looped), "x") is None
