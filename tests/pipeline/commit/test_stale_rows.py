"""In which file of a table the old rows of a document lie."""

from pathlib import Path

from pipeline.commit.stale_rows import Renewed, StaleRows
from pipeline.commit.tables import create_tables, write_rows
from schemas.arrow import to_table
from schemas.rows import Document
from tests.pipeline.plans import PLAN
from tests.pipeline.stored import NOW


def test_each_document_of_a_single_file_is_found(tmp_path: Path) -> None:
    """Whatever the order of their hashes, which differs from process to process."""
    tables = create_tables(str(tmp_path), None)
    uris = [f"/in/{number}" for number in range(50)]
    rows = to_table(Document, [_document(uri) for uri in uris])
    file = write_rows(tables["documents"], rows)
    stale_rows = StaleRows(PLAN, tables, {}, frozenset())
    stale_rows.note("documents", file.path, rows["uri"])
    for uri in uris:
        renewed = {uri: Renewed(uri=uri, opened=True)}
        taken = stale_rows.take("documents", renewed, lambda: {file.path})
        assert taken.removed == {file.path: file.size}
        assert [added.rows for added in taken.added] == [len(uris) - 1]


def _document(uri: str) -> Document:
    return Document(
        source_key=uri,
        settings_key="settings",
        asked_key="asked",
        run_id="before",
        uri=uri,
        page_count=1,
        items_expected=1,
        items_answered=1,
        items_failed=0,
        status="complete",
        finished_at=NOW,
    )
