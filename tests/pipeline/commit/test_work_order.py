"""Each old file is replaced in one go, whatever the order in which the listing names its documents."""

import numpy as np
import pyarrow as pa

from pipeline.commit.file_index import FileIndex
from pipeline.commit.work_order import work_order


def ordered(uris: str, *tables: dict[str, str]) -> str:
    """The documents of a listing, one letter each, in their order; files of each table hold such letters."""
    indices = []
    for files in tables:
        indices.append(FileIndex())
        for path, letters in files.items():
            indices[-1].note(path, pa.chunked_array([list(letters)]))
    order = work_order(pa.chunked_array([list(uris)]), indices)
    return uris if order is None else "".join(np.array(list(uris))[order])


def test_documents_follow_each_other_as_their_old_rows_do() -> None:
    assert ordered("abcdef", {"1": "fdb", "2": "eca"}) == "ecafdb"


def test_a_document_without_old_rows_keeps_its_place_in_the_listing() -> None:
    assert ordered("abcdef", {"1": "ae"}) == "aebcdf"
    assert ordered("abcdef", {"1": "ec"}) == "abecdf"
    assert ordered("abcdef", {"1": ""}, {}) == "abcdef"
    assert ordered("", {"1": "a"}) == ""


def test_the_first_table_with_rows_of_a_document_decides() -> None:
    assert ordered("abcd", {"1": "ca"}, {"1": "abcd"}) == "cabd"


def test_rows_of_documents_that_are_not_listed_do_not_matter() -> None:
    assert ordered("abc", {"1": "xcay", "2": "zb"}) == "cab"
