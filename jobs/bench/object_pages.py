"""An S3 of one bucket with as many objects as one likes, none of which is there: it lists, and no more.

Each page of ListObjectsV2 is made when it is asked for.
"""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

BUCKET: Final = "pile"
PREFIX: Final = "scans"
PAGE_OBJECTS: Final = 1_000  # as on S3
CHANGED: Final = "2026-01-02T03:04:05.000Z"


def key_of(number: int) -> str:
    """The key of an object: in the order of its numbers."""
    return f"{PREFIX}/{number // 1000:06}/document-{number:09}.pdf"


def size_of(number: int) -> int:
    """Its bytes."""
    return 50_000 + number % 1_000


def page(start: int, end: int, objects: int) -> bytes:
    """The objects from one number to another, as XML."""
    more = end < objects
    parts = [
        f"<Contents><Key>{key_of(number)}</Key><LastModified>{CHANGED}</LastModified>"
        f"<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>{size_of(number)}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for number in range(start, end)
    ]
    token = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{BUCKET}</Name><Prefix>{PREFIX}/</Prefix><KeyCount>{end - start}</KeyCount>"
        f"<MaxKeys>{PAGE_OBJECTS}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
        f"{token}{''.join(parts)}</ListBucketResult>"
    ).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers ListObjectsV2; says of anything else that it is not there."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    objects = 0

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:  # as http.server calls it
        """The bucket is there, and no object."""
        self._answer(200 if urlsplit(self.path).path.strip("/") == BUCKET else 404, b"")

    def do_GET(self) -> None:
        """A page."""
        asked = parse_qs(urlsplit(self.path).query)
        if "list-type" not in asked:
            self._answer(404, b"")
            return
        start = int(asked.get("continuation-token", ["0"])[0])
        most = int(asked.get("max-keys", [str(PAGE_OBJECTS)])[0])
        self._answer(200, page(start, min(start + most, self.objects), self.objects))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def serve(objects: int) -> None:
    """Serves so many objects, until its process is ended. Prints its port."""
    Handler.objects = objects
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
