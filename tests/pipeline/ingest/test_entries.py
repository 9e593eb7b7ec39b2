"""Files are sorted by uri, however they were found."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest import entries
from pipeline.ingest.entries import EntriesBuilder, Entry
from pipeline.ingest.file_types import SUFFIXES
from pipeline.ingest.files import _are_documents, suffix_of

NAMES = st.text(st.sampled_from("a/.é\U0001f600~ "), max_size=6)
FILES = st.lists(
    st.tuples(NAMES, st.integers(0, 2**62), st.integers(0, 2**62)), unique_by=lambda file: file[0]
)


@pytest.mark.parametrize("part", [1, 3, 65_536])
def test_files_are_sorted_however_they_come(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "PART_ROWS", part)

    @given(FILES, FILES, st.booleans())
    def check(
        one_by_one: list[tuple[str, int, int]], together: list[tuple[str, int, int]], sort: bool
    ) -> None:
        if sort:
            one_by_one, together = sorted(one_by_one), sorted(together)
        builder = EntriesBuilder()
        for file in one_by_one:
            builder.add(*file)
        columns = [[file[column] for file in together] for column in range(3)]
        kinds = (pa.string(), pa.int64(), pa.int64())
        builder.add_all(*(pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))
        found = builder.build()
        assert [entry.uri for entry in found] == sorted(uri for uri, _, _ in one_by_one + together)
        expected = [
            Entry(uri=uri, size=size, version=version) for uri, size, version in one_by_one + together
        ]
        assert sorted(found) == sorted(expected)
        assert len(found) == len(expected)

    check()


@given(st.lists(st.text(st.sampled_from("a/.PpDdFf\n\u017f"), max_size=8)))
def test_a_suffix_makes_a_document_as_pathlib_has_it(names: list[str]) -> None:
    uris = [f"s3://bucket/{name}{ending}" for name in names for ending in ("x", ".pdf", ".JPEG", "..Tiff")]
    expected = [suffix_of(uri) in SUFFIXES for uri in uris]
    looked_at = [not suffix_of(uri) for uri in uris]
    found = _are_documents(
        pa.array([uri for uri, look in zip(uris, looked_at, strict=True) if not look], pa.string()), SUFFIXES
    )
    assert found.tolist() == [is_one for is_one, look in zip(expected, looked_at, strict=True) if not look]
