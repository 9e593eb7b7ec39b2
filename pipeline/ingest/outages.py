"""An error in; whether a store, a catalog or a server is at fault, and not who named it, out.

An outage passes, and the same command may be given again: a status of 5xx or 429, a connection that is
refused or breaks off, no answer in time. A name that is not there, credentials that are refused, a host that
nobody knows, and one whose certificate is not trusted are mistakes, which somebody has to mend.
"""

import errno
import re
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

WAITS: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds before another try
PATIENCE: Final = 120.0  # seconds for all tries: the libraries have tried for a while before they give up
TOO_MANY: Final = 429
_ERRNOS: Final = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
# S3's own words, as pyarrow has them.
_CODES: Final = frozenset(
    "INTERNAL_FAILURE NETWORK_CONNECTION REQUEST_TIMEOUT SERVICE_UNAVAILABLE SLOW_DOWN THROTTLING".split()
)
_CODE: Final = re.compile(r"AWS Error ([A-Z_]+)")
_STATUS: Final = re.compile(r"status(?: code)?:? (\d{3})\b", re.IGNORECASE)
# An unknown host, or one that is not trusted, in the words of curl, of Rust's libraries, and of Python.
_MISTAKEN_HOST: Final = re.compile(
    r"resolve host|name or service not known|no such host"
    r"|curlCode: 60\b|InvalidCertificate|CERTIFICATE_VERIFY_FAILED",
    re.IGNORECASE,
)
_BROKEN: Final = re.compile(
    "timed out|(?:read|connect) timeout|timeout (?:expired|was reached)|could(?: not|n't) connect"
    "|connection (?:refused|reset|aborted|closed)|error sending request|temporary failure in name resolution",
    re.IGNORECASE,
)


def is_outage(error: BaseException) -> bool:
    """Whether the error, or the one that it comes from, is an outage. One that knows has `is_outage`."""
    cause: BaseException | None = error
    while cause is not None:
        known = getattr(cause, "is_outage", None)
        if known is None:
            known = _judged(cause)
        if known is not None:
            return bool(known)
        cause = cause.__cause__
    return False


def is_passing(status: int) -> bool:
    """Whether an HTTP status is that of an outage."""
    return status >= 500 or status == TOO_MANY


def patiently(work: Callable[[], Result], say: Callable[[str], None]) -> Result:
    """The work's result. It is tried again while it ends in a ValueError that is an outage, up to a bound."""
    started = time.monotonic()
    for wait in WAITS:
        try:
            return work()
        except ValueError as error:
            if not is_outage(error) or time.monotonic() + wait > started + PATIENCE:
                raise
            say(f"{error}; trying again in {wait:g} s")
        time.sleep(wait)
    return work()


def _judged(error: BaseException) -> bool | None:
    """None: this one does not tell."""
    status = _status(error)
    if status is not None:
        return is_passing(status)
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _ERRNOS
    if isinstance(error, FileNotFoundError | PermissionError):
        return False
    if isinstance(error, ValueError | RuntimeError) and not isinstance(error, OSError):
        return None  # a sentence of ours, which may repeat anything
    text = str(error)
    if found := _STATUS.search(text):
        return is_passing(int(found[1]))
    if _MISTAKEN_HOST.search(text):
        return False
    if found := _CODE.search(text):
        return found[1] in _CODES
    return True if isinstance(error, TimeoutError) or _BROKEN.search(text) else None


def _status(error: BaseException) -> int | None:
    """The HTTP status in an error of requests, httpx, urllib or botocore."""
    reply: Any = getattr(error, "response", None)
    if isinstance(reply, dict):
        found = reply.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(reply, "status_code", None) or getattr(error, "code", None)
    return found if type(found) is int and 100 <= found < 600 else None
