"""A Hugging Face hub on this machine: as much of one as its client asks for, with repositories of our own."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.web import running

COMMIT = "a" * 40
LARGE = 2**20  # bytes from which a file lies in Git LFS, so that the hub says its SHA-256


@dataclass
class Repository:
    """A repository, with a folder for each commit."""

    commits: dict[str, Path]
    """Each commit's folder; the first one is that of `main`."""
    branches: dict[str, str] = field(default_factory=dict)
    """Commits by the names of branches, `main` among them if it has moved."""
    gated: bool = False
    """Its files are not given to anybody."""
    cut: bool = False
    """Its large files end in the middle."""
    sizes: dict[str, int] = field(default_factory=dict)
    """What it says of files, whatever they have."""

    def commit(self, revision: str) -> str | None:
        """The commit that a revision means."""
        known = {"main": next(iter(self.commits)), **self.branches, **{one: one for one in self.commits}}
        return known.get(revision)


class Hub:
    """A hub that runs: its address, its repositories by `models/owner/name`, what it was asked."""

    def __init__(self, address: str, repositories: dict[str, Repository]) -> None:
        self.address = address
        self.repositories = repositories
        self.asked: list[tuple[str, str]] = []
        """Each method and path."""

    def fetched(self) -> list[str]:
        """The names of the files that somebody downloaded, in order."""
        return [
            path.rpartition("/")[2] for method, path in self.asked if method == "GET" and "/resolve/" in path
        ]

    def environment(self, home: Path) -> dict[str, str]:
        """That of a program that uses this hub, with a cache in `home`."""
        return os.environ | {
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }


@contextmanager
def served(repositories: dict[str, Repository]) -> Iterator[Hub]:
    """A hub with these repositories, by kind, owner and name: models/owner/name."""
    handler = type("OneHub", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.hub = hub = Hub(f"http://127.0.0.1:{server.server_port}", repositories)  # type: ignore[attr-defined]  # made above
    with running(server):
        yield hub


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append((self.command, path))
        for name, repository in self.hub.repositories.items():
            place = name if name.startswith("datasets/") else name.removeprefix("models/")
            if path.startswith(f"/api/{name}"):
                return self._describe(name, repository, path.removeprefix(f"/api/{name}"))
            if path.startswith(f"/{place}/resolve/"):
                revision, _, file = path.removeprefix(f"/{place}/resolve/").partition("/")
                return self._give(repository, revision, file)
        self._refuse(404, "RepoNotFound")

    do_HEAD = do_GET

    def _describe(self, name: str, repository: Repository, rest: str) -> None:
        words = rest.strip("/").split("/")
        commit = repository.commit(words[1] if len(words) > 1 else "main")
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        folder = repository.commits[commit]
        files = sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())
        if words[0] == "tree":
            body: Any = [
                {"type": "file", "path": one, "size": (folder / one).stat().st_size, "oid": "e1"}
                for one in files
            ]
        else:
            siblings = [self._sibling(repository, folder / one, one) for one in files]
            body = {"id": name.partition("/")[2], "sha": commit, "siblings": siblings}
        self._say(json.dumps(body).encode(), {})

    def _sibling(self, repository: Repository, path: Path, name: str) -> dict[str, Any]:
        size = path.stat().st_size
        sibling: dict[str, Any] = {"rfilename": name, "size": repository.sizes.get(name, size), "blobId": "b"}
        if size >= LARGE:
            sibling["lfs"] = {"size": size, "sha256": _sha256(path), "pointerSize": 134}
        return sibling

    def _give(self, repository: Repository, revision: str, name: str) -> None:
        commit = repository.commit(revision)
        path = repository.commits[commit] / name if commit else None
        if commit is None or path is None:
            return self._refuse(404, "RevisionNotFound")
        if repository.gated:
            return self._refuse(401, "GatedRepo")
        if not path.is_file():
            return self._refuse(404, "EntryNotFound")
        data = path.read_bytes()
        whole = not (repository.cut and len(data) >= LARGE)
        self._say(data, {"ETag": f'"{_sha256(path)}"', "X-Repo-Commit": commit}, whole=whole)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _say(self, data: bytes, headers: dict[str, str], *, whole: bool = True) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            with suppress(OSError):  # the client has hung up
                self.wfile.write(data if whole else data[: len(data) // 2])

    def log_message(self, format: str, *args: object) -> None:
        """The server says nothing."""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
