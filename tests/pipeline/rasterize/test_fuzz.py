"""Damaged documents of all kinds: each expected item comes out once, drawn or failed for a known reason.

Seeds are fixed. QUIRE_FUZZ_SECONDS=36000 makes the long run take hours; each round has seeds of its own.
"""

import os
import random
import time
from collections import Counter
from pathlib import Path

import pymupdf
import pytest
from PIL import Image

from pipeline.ingest.file_types import IMAGES
from pipeline.ingest.listing import list_sources
from pipeline.plan.items import asked_of
from pipeline.plan.limits import MIB, Limits
from pipeline.plan.plan import Plan
from pipeline.plan.rows import DOCUMENTS, FAILED, GROUP
from pipeline.stages import draw_groups, open_sources
from tests.pipeline.drawn import corner_image, image_bytes, pdf_bytes
from tests.pipeline.plans import plan_for
from tests.pipeline.rasterize.test_sandbox import children_of, end_cached_sandboxes

SAMPLES = Path(__file__).resolve().parents[3] / "samples" / "documents"
QUICK_SECONDS, LONG_SECONDS = 4.0, float(os.environ.get("QUIRE_FUZZ_SECONDS", 60))
BATCH = 20
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]

# Whatever else a document does would be a new word in the tables, and in the README's list of them.
REASONS = {
    *("empty_file", "unsupported_type", "damaged", "zero_pages", "needs_password", "too_many_pages"),
    *("damaged_page", "empty_page", "too_many_pixels", "crash", "timeout", "memory"),
}


def originals() -> dict[str, bytes]:
    """Files by their names: the samples, and one of each kind that is not among them."""
    files = {path.name: path.read_bytes() for path in sorted(SAMPLES.iterdir())}
    for kind in IMAGES.values():
        if kind.pillow != "HEIF":
            files[f"drawn{kind.suffixes[0]}"] = image_bytes(corner_image(90, 70), kind.pillow)
    frames = [Image.effect_noise((60, 40), 50), corner_image(60, 40).quantize(8)]
    files["lzw.tif"] = image_bytes(
        frames[0], "TIFF", compression="tiff_lzw", save_all=True, append_images=frames[1:]
    )
    files["pages.pdf"] = pdf_bytes([(300, 200)] * 5)
    files["locked.pdf"] = pdf_bytes(encryption=pymupdf.mupdf.PDF_ENCRYPT_AES_128, owner_pw="o")
    with pymupdf.open() as pdf:
        page = pdf.new_page(width=200, height=200)
        page.insert_image(page.rect, stream=image_bytes(corner_image(90, 70), "JPEG2000"))
        page.add_freetext_annot(pymupdf.Rect(10, 10, 90, 90), "note")
        files["jpx.pdf"] = pdf.tobytes(deflate=True)
    return files


def damaged(files: dict[str, bytes], seed: int) -> tuple[str, bytes]:
    """One of the files with a few changes, from the seed alone."""
    chance = random.Random(seed)
    name, other = chance.choice(sorted(files)), chance.choice(sorted(files))
    data = bytearray(files[name])
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) or 1)
        end = at + chance.randint(1, 64)
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                size = chance.choice([1, 2, 4])
                number = chance.choice(NUMBERS) & (256**size - 1)
                data[at : at + size] = number.to_bytes(size, chance.choice(["big", "little"]))
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end] * chance.randint(1, 20)
            case 4:
                start = chance.randrange(len(files[other]))
                data[at:end] = files[other][start : start + chance.randint(1, 500)]
            case 5:
                digits = [place for place in range(at, min(end, len(data))) if 48 <= data[place] <= 57]
                for place in digits:  # the numbers of a PDF: lengths, object numbers, sizes
                    data[place] = 48 + chance.randrange(10)
    if chance.random() < 0.1:
        del data[chance.randrange(len(data) or 1) :]
    return f"{seed}-{name}", bytes(data)


def run(folder: Path, plan: Plan, seconds: float) -> Counter[str]:
    """Batches of damaged files through the first two stages; what came of the items, by reason."""
    files, seed, came = originals(), 0, Counter[str]()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        batch = folder / str(seed)
        batch.mkdir()
        for _ in range(BATCH):
            name, data = damaged(files, seed)
            (batch / name).write_bytes(data)
            seed += 1
        items, expected = Counter[str](), Counter[str]()
        opened = open_sources(list_sources([str(batch)]), plan)
        tables = (table for part in opened for table in draw_groups(part, plan))
        for row in (row for table in tables for row in table.to_pylist()):
            if row["kind"] == DOCUMENTS:
                expected.update({one["uri"]: one["items_expected"] for one in row["documents"]})
                continue
            if row["kind"] == GROUP:
                items[row["uri"]] += len(row["item_keys"])
                came["drawn"] += 1
                continue
            assert row["kind"] == FAILED, row
            items[row["uri"]] += len(asked_of(plan, row["uri"], row["page_first"], row["page_last"]))
            came[row["reason"]] += 1
            assert row["reason"] in REASONS, row
            assert Path(row["uri"]).name in row["message"]
        assert len(expected) == BATCH
        assert items == expected
    end_cached_sandboxes()
    assert children_of(os.getpid()) == []
    came["documents"] = seed
    return came


@pytest.mark.parametrize(
    "seconds",
    [QUICK_SECONDS, pytest.param(LONG_SECONDS, marks=[pytest.mark.soak, pytest.mark.timeout(0)])],
)
def test_no_item_of_a_damaged_document_is_lost(tmp_path: Path, tiny_checkpoint: Path, seconds: float) -> None:
    limits = Limits(page_seconds=5, page_bytes=512 * MIB, document_pages=200)
    came = run(tmp_path, plan_for(tiny_checkpoint, limits=limits), seconds)
    print(dict(came.most_common()))
    assert came["drawn"]
