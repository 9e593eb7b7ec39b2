"""Documents for runs in which something dies: no two pages are alike, and some documents are bad."""

import random
from pathlib import Path

import pymupdf
from PIL import Image, ImageDraw

from tests.pipeline.drawn import image_bytes

STROKES = 1500  # on a page: so that drawing it takes long enough to be hit
PAGES = 3  # of a PDF
UNENCRYPTED, AES_256 = 1, 5  # as MuPDF numbers them


def write_pile(folder: Path, count: int) -> Path:
    """`count` documents that can be read, every fourth of them an image, and five bad ones."""
    folder.mkdir(parents=True)
    for number in range(count):
        if number % 4 == 3:
            (folder / f"{number:03}.png").write_bytes(_image(number))
        else:
            (folder / f"{number:03}.pdf").write_bytes(_pdf(number))
    (folder / "damaged.pdf").write_bytes(_pdf(count)[:300])
    (folder / "empty.pdf").write_bytes(b"")
    (folder / "encrypted.pdf").write_bytes(_pdf(count + 1, encryption=AES_256))
    (folder / "half.png").write_bytes(_image(count + 2)[:200])
    (folder / "office.pdf").write_bytes(b"PK\x03\x04 this is no document that anybody reads")
    return folder


def _pdf(seed: int, encryption: int = UNENCRYPTED) -> bytes:
    chance = random.Random(seed)
    with pymupdf.open() as pdf:
        for number in range(PAGES):
            page = pdf.new_page(width=300 + chance.randrange(60), height=400)
            page.insert_text((20, 60), f"{seed}.{number}", fontsize=40)
            ends = [(chance.randrange(300), chance.randrange(400)) for _ in range(STROKES + 1)]
            lines = " ".join(f"{x} {y} l" for x, y in ends[1:])
            strokes = f"q 0.2 w {chance.random():.3f} 0.2 0.8 RG {ends[0][0]} {ends[0][1]} m {lines} S Q"
            (text,) = page.get_contents()
            pdf.update_stream(text, pdf.xref_stream(text) + strokes.encode())
        # An owner's and a reader's password.
        data: bytes = pdf.tobytes(encryption=encryption, owner_pw="owner", user_pw="reader")
    return data


def _image(seed: int) -> bytes:
    chance = random.Random(seed)
    image = Image.new("RGB", (240, 200 + chance.randrange(40)), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        box = sorted(chance.randrange(240) for _ in range(2)), sorted(chance.randrange(200) for _ in range(2))
        colour = tuple(chance.randrange(256) for _ in range(3))
        draw.rectangle((box[0][0], box[1][0], box[0][1], box[1][1]), fill=colour)
    return image_bytes(image, "PNG")
