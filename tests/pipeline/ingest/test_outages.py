"""A store or a server that is at fault is told from a mistake, and asked again for a while."""

import errno
import http.client
import urllib.error

import pytest
import requests
from botocore.exceptions import ClientError, EndpointConnectionError
from deltalake.exceptions import DeltaError

from pipeline.ingest import outages
from pipeline.ingest.object_stores import StoreError
from pipeline.ingest.outages import is_outage, patiently
from pipeline.ingest.storage import find


def caused(cause: BaseException) -> ValueError:
    """A sentence that comes from an error of some library's, by two steps."""
    try:
        try:
            raise RuntimeError("s3://timed-out-connection-refused: a name") from cause
        except RuntimeError as error:
            raise ValueError("one sentence; status code: 503 is a part of a name") from error
    except ValueError as error:
        return error


def answered(status: int) -> requests.HTTPError:
    reply = requests.Response()
    reply.status_code = status
    return requests.HTTPError("the server answered", response=reply)


OUTAGES = [
    OSError("When getting information for key 'a': AWS Error UNKNOWN (HTTP status 503) during HeadObject"),
    OSError("When listing: AWS Error SLOW_DOWN during ListObjectsV2 operation: reduce your request rate"),
    OSError("AWS Error NETWORK_CONNECTION during HeadBucket operation: curlCode: 7, Couldn't connect"),
    OSError("When listing certificates: AWS Error NETWORK_CONNECTION: curlCode: 28, Timeout was reached"),
    OSError("Generic S3 error: Server returned non-2xx status code: 502 Bad Gateway: "),
    OSError("Generic S3 error: error sending request for url (http://s3/a): operation timed out"),
    OSError(errno.ESTALE, "Stale file handle", "/mnt/scans"),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    TimeoutError(),
    requests.ConnectionError("HTTPConnectionPool: Max retries exceeded: [Errno 111] Connection refused"),
    answered(503),
    answered(429),
    urllib.error.HTTPError("http://a", 500, "no", http.client.HTTPMessage(), None),
    ClientError({"ResponseMetadata": {"HTTPStatusCode": 503}}, "GetTable"),
    EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    StoreError("Azure answered 503", is_outage=True),
]
MISTAKES = [
    OSError("When reading: AWS Error ACCESS_DENIED during HeadObject operation: No response body."),
    OSError("When listing: AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation: timed out is its name"),
    OSError("AWS Error NETWORK_CONNECTION: curlCode: 6, Couldn't resolve host name"),
    OSError("Generic S3 error: Server returned non-2xx status code: 404 Not Found: timed out"),
    OSError("error sending request: dns error: failed to lookup: Name or service not known"),
    OSError("AWS Error NETWORK_CONNECTION: curlCode: 60, SSL peer certificate or SSH remote key was not OK"),
    OSError("HTTP error: error sending request\n\nDebug source:\n error: InvalidCertificate(UnknownIssuer)"),
    DeltaError("s3://bucket/timeout: Schema error: Invalid data found"),
    OSError(errno.EACCES, "Permission denied", "/mnt/timed out"),
    FileNotFoundError("s3://bucket/timed out"),
    answered(403),
    answered(400),
    StoreError("Azure refused the credentials"),
    ValueError("the connection timed out"),
]


@pytest.mark.parametrize("cause", OUTAGES, ids=str)
def test_an_outage_is_none_of_who_asks(cause: BaseException) -> None:
    assert is_outage(caused(cause))


@pytest.mark.parametrize("cause", MISTAKES, ids=str)
def test_a_mistake_is_no_outage(cause: BaseException) -> None:
    assert not is_outage(caused(cause))


def test_an_outage_is_asked_again_and_a_mistake_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "WAITS", (0.0, 0.0))
    said = list[str]()
    errors: list[ValueError] = [caused(TimeoutError()), caused(answered(503))]

    def work() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    assert patiently(work, said.append) == "done"
    assert [sentence.endswith("; trying again in 0 s") for sentence in said] == [True, True]
    errors = [caused(answered(503)) for _ in range(3)]
    with pytest.raises(ValueError, match="one sentence"):
        patiently(work, said.append)
    assert not errors
    errors = [caused(answered(403))]
    said.clear()
    with pytest.raises(ValueError, match="one sentence"):
        patiently(work, said.append)
    assert said == []


def test_tries_end_with_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "PATIENCE", 0.5)
    tries = 0

    def work() -> None:
        nonlocal tries
        tries += 1
        raise caused(TimeoutError())

    with pytest.raises(ValueError, match="one sentence"):
        patiently(work, lambda sentence: None)
    assert tries == 1


def test_a_mistyped_input_is_not_asked_for_again() -> None:
    with pytest.raises(ValueError, match="there is no such file") as raised:
        find("/nowhere/at/all")
    assert not is_outage(raised.value)
