"""What the driver holds for each document is bounded, as docs/performance.md says."""

from pathlib import Path

import pytest

from jobs.bench.keys_parts import measure, object_server, write_uris

pytestmark = pytest.mark.processes

FEW, MANY = 50_000, 350_000
LISTED, BEGUN = 300, 400  # bytes a document: 4 GB are 10 million


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("part", "most"),
    [
        pytest.param("list_objects", LISTED, marks=pytest.mark.soak),
        ("list_rows", LISTED),
        ("first_look", BEGUN),
        pytest.param("begin", BEGUN, marks=pytest.mark.soak),
    ],
)
def test_a_document_takes_at_most_so_many_bytes(part: str, most: int, tmp_path: Path) -> None:
    peaks = []
    for documents in (FEW, MANY):
        folder = tmp_path / str(documents)
        folder.mkdir()
        write_uris(folder, documents)
        with object_server(documents) as environment:
            peaks.append(measure(part, str(folder), documents, environment)["peak_MiB"] * 2**20)
    assert 0 < peaks[1] - peaks[0] < most * (MANY - FEW)
