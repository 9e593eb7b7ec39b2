"""Requests to an address that a flag names, and that may be a secret or come with a key: nobody is led on.

The flag is the permission: such an address may lie in a private network. Addresses that a document or a row
names are another thing (`pipeline.ingest.fetching`).
"""

import urllib.request
from typing import Any


def open_alone(request: urllib.request.Request, seconds: float) -> Any:
    """The reply of that host itself. Raises OSError (HTTPError for a redirect, too) and HTTPException."""
    return urllib.request.build_opener(_NoRedirects).open(request, timeout=seconds)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would send a key on to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def why(error: Exception) -> str:
    """The reason of an error in a few words. Example: "connection refused"."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return (getattr(reason, "strerror", None) or str(reason) or type(reason).__name__).lower()
