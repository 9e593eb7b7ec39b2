"""The images of a row are the pages of one document; what one of them lacks costs itself."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.ingest import reading
from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.listing import list_sources
from pipeline.ingest.page_lists import MEDIA_TYPE, is_packed, pack, unpack
from pipeline.ingest.reading import read_source
from pipeline.rasterize.pdf import open_document, rasterize
from tests.pipeline.drawn import image_bytes
from tests.pipeline.ingest.listed import PDF, parquet, read_reason, write
from tests.pipeline.local import Machine


def picture(width: int, height: int, kind: str = "PNG", **options: Any) -> bytes:
    return image_bytes(Image.new("RGB", (width, height), (width, height, 9)), kind, **options)


PARTS = st.lists(
    st.binary() | st.builds(DocumentError, st.sampled_from(["missing", "null_value"]), st.text("aé\n"))
)


@given(PARTS, PARTS)
def test_pages_come_out_as_they_went_in_and_equal_bytes_are_equal_pages(
    some: list[Any], more: list[Any]
) -> None:
    def plain(parts: list[Any]) -> list[Any]:
        return [str(part) if isinstance(part, DocumentError) else part for part in parts]

    data = pack(some)
    assert is_packed(data)
    assert plain(unpack(data)) == plain(some)
    assert (data == pack(more)) == (plain(some) == plain(more))


@given(st.lists(st.binary()), st.data())
def test_what_is_cut_or_longer_is_refused(parts: list[bytes], drawn: st.DataObject) -> None:
    data = pack(parts)
    start = len(pack([])) - 4  # behind the first bytes, which tell what it is
    with pytest.raises(ValueError, match=r"it is cut off|another length"):
        unpack(data[: drawn.draw(st.integers(start, len(data) - 1))])
    with pytest.raises(ValueError, match="another length"):
        unpack(data + b"x")


@pytest.mark.parametrize("kind", ["bytes", "struct", "uri"])
def test_a_row_is_a_document_of_so_many_pages(tmp_path: Path, kind: str) -> None:
    images = [picture(20, 30), picture(40, 10, "JPEG")]
    write(tmp_path / "0.png", images[0])
    write(tmp_path / "1.jpg", images[1])
    rows: dict[str, Any] = {
        "bytes": [images, images[:1]],
        "struct": [[{"bytes": image, "path": None} for image in images], [{"bytes": None, "path": "0.png"}]],
        "uri": [["0.png", "1.jpg"], ["0.png"]],
    }
    path = parquet(tmp_path / "x.parquet", pages=rows[kind])
    sources = list_sources([path], column="pages").to_pylist()
    assert [source["uri"] for source in sources] == [f"{path}#0", f"{path}#1"]
    both, one = (read_source(source, [str(tmp_path)]) for source in sources)
    assert both == pack(images)
    assert one == pack(images[:1])
    with open_document(both, "x") as opened:
        assert (opened.media_type, opened.page_count) == (MEDIA_TYPE, 2)
        shapes = [rasterize(opened, page, max_side=64, patch_size=16)[0].shape for page in (1, 2)]
    assert shapes == [(30, 20, 3), (10, 40, 3)]


def test_an_empty_list_and_a_null_one_fail(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", pages=pa.array([[], None], pa.list_(pa.binary())))
    empty, null = list_sources([path], column="pages").to_pylist()
    with pytest.raises(DocumentError, match="is a list without an image") as caught:
        open_document(read_source(empty, ()), "x")
    assert caught.value.reason == "zero_pages"
    assert read_reason(null) == "null_value"


def test_all_images_of_a_row_are_within_the_limit_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 10)
    path = parquet(tmp_path / "x.parquet", pages=[[b"123456", b"12345"]])
    assert read_reason(list_sources([path], column="pages").to_pylist()[0]) == "too_large"


def test_each_page_that_cannot_be_asked_is_a_failure_and_the_others_are_asked(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = picture(8, 8, "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    pages = [picture(32, 16), None, b"", PDF, b"words", picture(8, 8)[:40], frames]
    path = parquet(tmp_path / "in" / "x.parquet", id=["a"], pages=pa.array([pages], pa.list_(pa.binary())))
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    record = machine.run(path, column="pages", id_column="id")
    assert record["counts"]["answered"] == 4
    answers = {row["page_first"]: row for row in machine.rows("answers/text")}
    assert sorted(answers) == [1, 7]
    assert answers[7]["note"] == "page 7: first frame of 2"
    failures = {row["page_first"]: row for row in machine.rows("failures")}
    assert {page: row["reason"] for page, row in failures.items()} == {
        2: "null_value",
        3: "empty_file",
        4: "unsupported_type",
        5: "unsupported_type",
        6: "damaged_page",
    }
    assert f"page 4 of {path}#a is a PDF" in failures[4]["message"]
    (document,) = machine.rows("documents")
    assert (document["media_type"], document["page_count"], document["status"]) == (MEDIA_TYPE, 7, "partial")
    assert machine.run(path, column="pages", id_column="id")["reused"]["documents"] == 1


def test_pages_that_are_not_there_in_time_are_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(tmp_path / "x.parquet", pages=[[picture(9, 9), picture(8, 8)]])
    (source,) = list_sources([str(path)], column="pages").to_pylist()
    times = iter([0.0, 1.0, reading.LIST_SECONDS + 1])
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: next(times)))
    first, second = unpack(read_source(source, ()))
    assert first == picture(9, 9)
    assert isinstance(second, DocumentError)
    assert (second.reason, "took 1800 s to read" in second.message) == ("unreadable", True)
