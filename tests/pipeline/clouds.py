"""Google Cloud Storage and Azure Blob as far as Quire asks them, in memory, with faults on demand.

Both in one process of its own: Azure's requests carry `x-ms-version`. A page of a listing has three objects.
Nothing here checks a signature, or writes in parts; `azurite`, where it is installed, does: the tests run
against it too.

python -m tests.pipeline.clouds    prints the port on which it listens
"""

import base64
import hashlib
import hmac
import http.client
import http.server
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

import obstore
from obstore.store import AzureStore, GCSStore

from tests.pipeline.s3 import START_SECONDS, Proxy, Server, _free_ports

PAGE: Final = 3  # objects in a page of a listing
ACCOUNT: Final = "devstoreaccount1"  # of Azure's emulators, and its well-known key
KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class Cloud(Server):
    """A running store, with a bucket or container `quire`. As "gs" its address is gs://quire."""

    scheme: str = "gs"
    folder: Path = Path()

    @property
    def address(self) -> str:
        return f"{self.scheme}://{self.bucket}"

    @property
    def settings(self) -> dict[str, str]:
        """What the environment must say for this store."""
        url = f"http://127.0.0.1:{self.port}"
        if self.scheme == "az":
            return {
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": KEY,
                "AZURE_STORAGE_USE_EMULATOR": "true",
                "AZURITE_BLOB_STORAGE_URL": url,
            }
        account = self.folder / "account.json"
        secrets = {"client_email": "", "private_key": "", "private_key_id": ""}
        account.write_text(json.dumps({"gcs_base_url": url, "disable_oauth": True, **secrets}))
        return {"GOOGLE_SERVICE_ACCOUNT": str(account), "GOOGLE_BASE_URL": url}

    @property
    def store(self) -> GCSStore | AzureStore:
        """Of the test's own; the environment says where."""
        kind = AzureStore if self.scheme == "az" else GCSStore
        return kind(self.bucket, client_options={"allow_http": True})

    def put(self, key: str, data: bytes) -> str:
        obstore.put(self.store, key, data)
        return f"{self.address}/{key}"

    def get(self, key: str) -> bytes:
        return bytes(obstore.get(self.store, key).bytes())

    def ask_google(self, method: str, key: str, data: bytes = b"") -> None:
        """About a name that the library does not know."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, f"/{self.bucket}/{key}", data)
        assert connection.getresponse().status in (201, 204)
        connection.close()

    def names(self) -> list[str]:
        return sorted(entry["path"] for entry in obstore.list(self.store).collect())

    def clear(self) -> None:
        for name in self.names():
            obstore.delete(self.store, name)


@contextmanager
def serve_clouds() -> Iterator[int]:
    """The port of a server that is empty."""
    program = [sys.executable, "-m", "tests.pipeline.clouds"]
    server = subprocess.Popen(
        program, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert server.stdout is not None
    try:
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@contextmanager
def serve_azurite(folder: Path) -> Iterator[int]:
    """The port of Microsoft's own emulator; it must be installed (`.ci/run` says how)."""
    port = _free_ports()[0]
    flags = ["--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck"]
    program = [shutil.which("azurite-blob") or "azurite-blob", *flags, "--blobPort", str(port)]
    server = subprocess.Popen(program, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _create_container(port)
        yield port
    finally:
        server.kill()
        server.wait()


def _create_container(port: int) -> None:
    """By a signed request, as soon as the server answers."""
    deadline = time.monotonic() + START_SECONDS
    when = formatdate(usegmt=True)
    path = f"/{ACCOUNT}/quire"
    signed = [f"PUT{chr(10) * 12}x-ms-date:{when}", "x-ms-version:2021-08-06"]
    text = "\n".join([*signed, f"/{ACCOUNT}{path}", "restype:container"])
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": when,
        "x-ms-version": "2021-08-06",
        "Content-Length": "0",
        "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
    }
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("PUT", f"{path}?restype=container", headers=headers)
            answer = connection.getresponse()
            assert answer.status == 201, answer.read()
            return
        except OSError:
            assert time.monotonic() < deadline, "azurite did not start"
            time.sleep(0.1)
        finally:
            connection.close()


@dataclass(frozen=True)
class Stored:
    data: bytes
    changed: float  # seconds since 1970
    number: int  # of the put that made it

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [
            ("Last-Modified", formatdate(self.changed, usegmt=True)),
            ("ETag", f'"{self.number}"'),
            ("x-goog-generation", str(self.number)),
        ]


Reply = tuple[int, list[tuple[str, str]], bytes]


class Clouds(Proxy):
    """Answers requests from memory."""

    objects: ClassVar[dict[str, Stored]] = {}
    puts = 0

    def _reply(self, body: bytes) -> Reply:
        raw, _, query = self.path.partition("?")
        asked = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        is_azure = "x-ms-version" in self.headers
        if is_azure:
            raw = raw.removeprefix(f"/{ACCOUNT}")
        if is_json := raw.startswith("/storage/v1/b/"):  # how pyarrow lists
            raw = raw.removeprefix("/storage/v1/b").removesuffix("/o")
        bucket, _, key = raw.lstrip("/").partition("/")
        key = unquote(key)
        with self.lock:
            if bucket != "quire":
                return 404, [], b"<Error><Code>NoSuchBucket</Code></Error>"
            if self.command == "POST":
                return self._delete_all(body.decode())
            if not key:
                names = sorted(name for name in self.objects if name.startswith(asked.get("prefix", "")))
                if is_json:
                    return 200, [], self._json_page(names)
                return 200, [], (self._azure_page if is_azure else self._google_page)(names, asked)
            if self.command == "PUT":
                return self._put(key, body, 409 if is_azure else 412)
            if key not in self.objects:
                return 404, [], b"<Error><Code>NoSuchKey</Code></Error>"
            if self.command == "DELETE":
                del self.objects[key]
                return 202 if is_azure else 204, [], b""
            return self._get(self.objects[key])

    def _delete_all(self, body: str) -> Reply:
        """A batch of Azure's: requests in the parts of a body, answers in those of another one."""
        text = ""
        for number, path in enumerate(re.findall(r"^DELETE (\S+) HTTP", body, re.MULTILINE)):
            key = unquote(path.removeprefix(f"/{ACCOUNT}").removeprefix("/quire/"))
            found = self.objects.pop(key, None)
            status = "404 The specified blob does not exist." if found is None else "202 Accepted"
            text += (
                f"--cut\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
                f"HTTP/1.1 {status}\r\nx-ms-version: 2021-08-06\r\n\r\n\r\n"
            )
        return 202, [("Content-Type", "multipart/mixed; boundary=cut")], f"{text}--cut--\r\n".encode()

    def _put(self, key: str, body: bytes, refused: int) -> Reply:
        is_new = (
            self.headers.get("If-None-Match") == "*" or self.headers.get("x-goog-if-generation-match") == "0"
        )
        if is_new and key in self.objects:
            return refused, [], b"<Error><Code>BlobAlreadyExists</Code></Error>"
        Clouds.puts += 1
        self.objects[key] = Stored(body, time.time(), Clouds.puts)
        return 201, self.objects[key].headers, b""

    def _get(self, stored: Stored) -> Reply:
        data, size = stored.data, len(stored.data)
        asked = re.fullmatch(
            r"bytes=(\d*)-(\d*)", self.headers.get("Range") or self.headers.get("x-ms-range") or ""
        )
        if asked is None:
            return 200, [*stored.headers, ("Content-Length", str(size))], data
        start = int(asked[1]) if asked[1] else size - int(asked[2])
        end = min(int(asked[2]) + 1, size) if asked[1] and asked[2] else size
        if start >= size:
            return 416, [], b""
        where = ("Content-Range", f"bytes {start}-{end - 1}/{size}")
        return 206, [*stored.headers, where, ("Content-Length", str(end - start))], data[start:end]

    def _page(
        self, names: list[str], asked: Mapping[str, str], after: str
    ) -> tuple[list[str], list[str], str]:
        """The objects, the folders, and the name behind which the next page begins."""
        found, folders = list[str](), list[str]()
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter")
        names = [name for name in names if name > after]
        for position, name in enumerate(names):
            inner, cut, _ = name[len(prefix) :].partition(delimiter or "\0")
            if cut and folders[-1:] != [f"{prefix}{inner}{delimiter}"]:
                folders.append(f"{prefix}{inner}{delimiter}")
            elif not cut:
                found.append(name)
            if len(found) == PAGE and position + 1 < len(names):
                return found, folders, name
        return found, folders, ""

    def _google_page(self, names: list[str], asked: Mapping[str, str]) -> bytes:
        found, folders, following = self._page(
            names, asked, asked.get("continuation-token") or asked.get("start-after", "")
        )
        text = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self.objects[name].data)}</Size><LastModified>"
            f"{_iso(self.objects[name].changed)}</LastModified><ETag>&quot;1&quot;</ETag></Contents>"
            for name in found
        )
        text += "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders
        )
        if following:
            text += f"<NextContinuationToken>{escape(following)}</NextContinuationToken>"
        return f"<ListBucketResult>{text}</ListBucketResult>".encode()

    def _json_page(self, names: list[str]) -> bytes:
        items = [
            {
                "kind": "storage#object",
                "bucket": "quire",
                "name": name,
                "size": str(len(self.objects[name].data)),
                "timeCreated": _iso(self.objects[name].changed),
                "updated": _iso(self.objects[name].changed),
            }
            for name in names
        ]
        return json.dumps({"kind": "storage#objects", "items": items}).encode()

    def _azure_page(self, names: list[str], asked: Mapping[str, str]) -> bytes:
        found, folders, following = self._page(names, asked, asked.get("marker", ""))
        text = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>{len(self.objects[name].data)}"
            f"</Content-Length><Last-Modified>{formatdate(self.objects[name].changed, usegmt=True)}"
            "</Last-Modified><Content-Type>application/octet-stream</Content-Type><Etag>1</Etag></Properties></Blob>"
            for name in found
        )
        text += "".join(f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in folders)
        return (
            f"<EnumerationResults><Blobs>{text}</Blobs><NextMarker>{escape(following)}</NextMarker>"
            "</EnumerationResults>"
        ).encode()


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03}Z"


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Clouds)
    print(server.server_address[1], flush=True)
    server.serve_forever()
