"""A REST catalog in this process: the part of Iceberg's OpenAPI that a publish needs, over HTTP.

Table metadata lies in a folder, and which file of it counts in memory. A commit checks its requirements
under a lock, as the specification wants: of two that start from one version, one gets the answer 409.
"""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.catalog.rest import CreateTableRequest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table import CommitTableRequest
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.table.update import AssertCreate, update_table_metadata

from tests.web import running

Reply = tuple[int, dict[str, Any]]
_OPTIONAL = {"location": None, "partition-spec": None, "write-order": None}  # pyiceberg's model wants them


class RestCatalogServer(ThreadingHTTPServer):
    """Namespaces and tables, until it is closed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.namespaces: set[str] = set()
        self.tables: dict[tuple[str, str], tuple[str, TableMetadata]] = {}
        self.lock = threading.Lock()
        self.commits = 0

    def answer(self, method: str, parts: list[str], body: dict[str, Any]) -> Reply:
        with self.lock:
            match method, parts:
                case "GET", ["config"]:
                    return 200, {"defaults": {}, "overrides": {}}
                case "POST", ["namespaces"]:
                    self.namespaces.add(".".join(body["namespace"]))
                    return 200, body
                case "GET" | "HEAD", ["namespaces", namespace]:
                    return (
                        (200, {"namespace": [namespace]})
                        if namespace in self.namespaces
                        else _missing("NoSuchNamespaceException")
                    )
                case "POST", ["namespaces", namespace, "tables"]:
                    return self._create(namespace, CreateTableRequest.model_validate(_OPTIONAL | body))
                case "GET" | "HEAD", ["namespaces", namespace, "tables", name]:
                    return self._loaded(namespace, name)
                case "POST", ["namespaces", namespace, "tables", name]:
                    identifier = {"namespace": [namespace], "name": name}
                    request = CommitTableRequest.model_validate({"identifier": identifier} | body)
                    return self._commit(namespace, name, request)
        return 404, {"error": {"message": f"{method} {parts}", "type": "NotFound", "code": 404}}

    def _create(self, namespace: str, request: CreateTableRequest) -> Reply:
        if (namespace, request.name) in self.tables:
            return 409, {"error": {"message": "it is there", "type": "AlreadyExistsException", "code": 409}}
        assert request.stage_create, "a publish shows no table before it has its rows"
        metadata = new_table_metadata(
            schema=request.table_schema,
            partition_spec=request.partition_spec or UNPARTITIONED_PARTITION_SPEC,
            sort_order=request.write_order or UNSORTED_SORT_ORDER,
            location=request.location or f"{self.folder}/{namespace}/{request.name}",
            properties=request.properties,
        )
        return 200, {"metadata-location": None, "metadata": _plain(metadata)}

    def _loaded(self, namespace: str, name: str) -> Reply:
        if (namespace, name) not in self.tables:
            return _missing("NoSuchTableException")
        location, metadata = self.tables[namespace, name]
        return 200, {"metadata-location": location, "metadata": _plain(metadata)}

    def _commit(self, namespace: str, name: str, request: CommitTableRequest) -> Reply:
        there = self.tables.get((namespace, name), (None, None))[1]
        try:
            for requirement in request.requirements:
                requirement.validate(there)
        except CommitFailedException as error:
            return 409, {"error": {"message": str(error), "type": "CommitFailedException", "code": 409}}
        is_new = any(isinstance(requirement, AssertCreate) for requirement in request.requirements)
        base = MetastoreCatalog._empty_table_metadata() if is_new else there
        assert base is not None
        metadata = update_table_metadata(base, request.updates, enforce_validation=is_new)
        folder = Path(metadata.location.removeprefix("file://"), "metadata")
        folder.mkdir(parents=True, exist_ok=True)
        self.commits += 1
        location = f"{folder}/{self.commits:05}-{uuid.uuid4()}.metadata.json"
        Path(location).write_text(metadata.model_dump_json())
        self.tables[namespace, name] = location, metadata
        return 200, {"metadata-location": location, "metadata": _plain(metadata)}


class _Handler(BaseHTTPRequestHandler):
    server: RestCatalogServer

    def _reply(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else {}
        parts = self.path.partition("?")[0].removeprefix("/v1/").split("/")
        code, found = self.server.answer(self.command, parts, body)
        data = json.dumps(found).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = _reply

    def log_message(self, *_: Any) -> None:
        """Not a line a request."""


def _plain(metadata: TableMetadata) -> Any:
    return json.loads(metadata.model_dump_json())


def _missing(kind: str) -> Reply:
    return 404, {"error": {"message": "there is none", "type": kind, "code": 404}}


@contextmanager
def serving(folder: Path) -> Iterator[RestCatalogServer]:
    """A server, and its address in `server_address`."""
    with running(RestCatalogServer(folder)) as server:
        yield server
