"""The kind of a file by its first bytes: text that begins like one, or names one, is none."""

import io

import pytest
from PIL import Image

from pipeline.ingest.file_types import IMAGES, PDF, SNIFFED_BYTES, sniff
from tests.pipeline.drawn import pdf_bytes

OBJECT = b"1 0 obj\n<< /Type /Catalog >>\nendobj\n"


@pytest.mark.parametrize(
    "data",
    [
        b"BMW 320d, serviced 2024-01-02\n",
        b"BM",
        b"BM\x00\x01 some other program's own",
        b"GIF89a is the version of 1989.\n",
        b"RIFFs on WEBP\n",
        b"# How to make a file that starts with %PDF-1.7\n",
        "Ein Text über %PDF-1.7\n\nfür alle".encode("latin-1"),
        b"Write this line:\n%PDF-1.7\n% a comment\nand then the objects: 1 0 obj\n",
        b"The header is:\n\n%PDF-1.7\n",
        b'assert data.startswith(b"%PDF-")\nassert 1 0 obj\n',
        b"\0" * SNIFFED_BYTES + b"%PDF-1.7",
        b"",
    ],
)
def test_what_is_no_document(data: bytes) -> None:
    assert sniff(data) is None


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"\xef\xbb\xbf",
        b"\r\n \n",
        b"\x1b%-12345X@PJL JOB\r\n@PJL ENTER LANGUAGE=PDF\r\n",  # as a printer gets it
        b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n",
        b"\x00\x08scan.pdf" + b"\x00" * 118,  # MacBinary
        b"x" * (SNIFFED_BYTES - 12) + b"\n",  # so much that the object is out of sight
    ],
)
@pytest.mark.parametrize(
    "header", [b"%PDF-1.4\n", b"%PDF-1.4\r%\xe2\xe3\xcf\xd3\r\n", b"%PDF-1.7 \n\n%a\n%b\n "]
)
def test_a_pdf_may_have_rubbish_before_its_header(before: bytes, header: bytes) -> None:
    assert sniff(before + header + OBJECT) == PDF


def test_a_damaged_pdf_is_one() -> None:
    assert sniff(pdf_bytes()) == sniff(pdf_bytes()[:9]) == sniff(b"%PDF-nonsense") == PDF


@pytest.mark.parametrize("media_type", [kind for kind in IMAGES if kind not in ("image/heic", "image/avif")])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("side", [1, 300])
def test_images_of_every_format_are_known(media_type: str, mode: str, side: int) -> None:
    if media_type == "image/jp2" and mode in ("1", "P"):
        mode = "L"
    if media_type == "image/jpeg" and mode == "P":
        mode = "L"
    file = io.BytesIO()
    # 32 in all bytes: as much like text as an image can be.
    Image.new(mode, (side, side), 32 if mode != "RGB" else (32, 32, 32)).save(file, IMAGES[media_type].pillow)
    assert sniff(file.getvalue()) == media_type


@pytest.mark.parametrize("size", [12, 16, 40, 52, 56, 64, 108, 124])
def test_every_version_of_bmp_is_known(size: int) -> None:
    assert sniff(b"BM" + bytes(12) + size.to_bytes(4, "little") + bytes(size)) == "image/bmp"
