"""Rows of a Parquet file name documents on the web, where the command allows that; each fails by itself."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import FlowConfig, make_plan
from pipeline.ingest.fetching import WebRules, rules_of
from pipeline.ingest.file_types import MAX_BYTES, DocumentError
from pipeline.ingest.listing import list_sources
from pipeline.ingest.reading import read_named, read_source
from pipeline.ingest.roots import check_first
from schemas.targets import Question
from tests.pipeline.ingest.listed import PDF, parquet
from tests.pipeline.local import Machine

HERE = WebRules(private_hosts=frozenset({"127.0.0.1"}), max_bytes=10_000, seconds=5)


class Site(BaseHTTPRequestHandler):
    """Documents, and what is none."""

    def do_GET(self) -> None:
        status = {"/gone.pdf": 404, "/broken.pdf": 503}.get(self.path, 200)
        body = b"x" * 10_001 if self.path == "/large.pdf" else PDF
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The server says nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def outcome(source: dict[str, Any], web: WebRules | None) -> bytes | str:
    try:
        return read_source(source, (), web)
    except DocumentError as error:
        return error.reason


def test_each_address_is_a_document_or_a_failure_with_its_reason(tmp_path: Path, site: str) -> None:
    names = ["a%20b.pdf?x=1", "gone.pdf", "broken.pdf", "large.pdf"]
    elsewhere = ["http://127.0.0.2/a.pdf", "http://me:pass@127.0.0.1/a.pdf", "http://there.invalid/a.pdf"]
    table = parquet(tmp_path / "list.parquet", url=[f"{site}/{name}" for name in names] + elsewhere)
    sources = list_sources([table], column="url").to_pylist()
    assert [source["uri"] for source in sources] == [f"{site}/{name}" for name in names] + elsewhere
    assert [outcome(source, HERE) for source in sources] == [
        PDF,
        "missing",
        "unreadable",
        "too_large",
        "not_allowed",
        "not_allowed",
        "unreadable",
    ]
    assert {outcome(source, None) for source in sources} == {"not_allowed"}


def test_an_image_of_a_conversation_is_fetched_by_the_same_rules(site: str) -> None:
    assert read_named(f"{site}/a.pdf", "row", (), HERE) == PDF
    with pytest.raises(DocumentError) as caught:
        read_named(f"{site}/a.pdf", "row", ())
    assert caught.value.reason == "not_allowed"


def test_without_leave_a_list_of_addresses_is_refused_before_the_run(tmp_path: Path) -> None:
    table = parquet(tmp_path / "list.parquet", url=["a.pdf", "https://host/a.pdf?sig=1"])
    sources = list_sources([table], column="url")
    with pytest.raises(
        ValueError, match=r"names https://host/a\.pdf.*, which lies on the web: .*--allow-http"
    ):
        check_first(sources, (str(tmp_path),))
    check_first(sources, (str(tmp_path),), WebRules())


def test_the_url_of_a_blob_is_read_from_azure_where_its_container_is_an_input(tmp_path: Path) -> None:
    urls = ["https://acme1.blob.core.windows.net/inbox/a.pdf"]
    sources = list_sources([parquet(tmp_path / "list.parquet", url=urls)], column="url")
    check_first(sources, ("abfss://inbox@acme1.dfs.core.windows.net",))
    with pytest.raises(ValueError, match="lies on the web"):
        check_first(sources, ("abfss://other@acme1.dfs.core.windows.net",))


def test_the_flags_are_about_rows_that_name_addresses(tiny_checkpoint: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "output": "out",
        "model": str(tiny_checkpoint),
        "questions": (Question(text="?"),),
    }
    table = parquet(tmp_path / "list.parquet", url=["https://host/a.pdf"])
    with pytest.raises(ValueError, match="--allow-http: it is for Parquet inputs"):
        FlowConfig(inputs=("a.pdf",), allow_http=True, **values)
    with pytest.raises(ValueError, match="add --allow-http"):
        FlowConfig(inputs=(table,), column="url", allow_hosts=("intranet",), **values)
    config = FlowConfig(inputs=(table,), column="url", allow_http=True, allow_hosts=("Intranet",), **values)
    web = make_plan(config).web
    assert web is not None
    assert web.private_hosts == {"intranet"}
    assert web.max_bytes == MAX_BYTES
    assert rules_of(False, ()) is None


def test_a_run_over_a_list_of_addresses(
    tiny_checkpoint: Path, tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = parquet(tmp_path / "list.parquet", url=[f"{site}/a.pdf", f"{site}/gone.pdf"])
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    record = machine.run(table, column="url", allow_http=True, allow_hosts=("127.0.0.1",))
    assert record["config"]["allow_http"] is True
    assert {row["uri"] for row in machine.rows("answers/text")} == {f"{site}/a.pdf"}
    failed = {(row["uri"], row["reason"]) for row in machine.rows("failures")}
    assert failed == {(f"{site}/gone.pdf", "missing")}
