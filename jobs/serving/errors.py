"""What a client is told instead of an answer: an HTTP status, and OpenAI's form of an error."""

from typing import Any

BAD_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


class ApiError(Exception):
    """The client gets this status and this sentence."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = BAD_REQUEST,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """`param` is the field of the request that is wrong; `kind` and `code` are words of OpenAI's."""
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body: dict[str, Any] = {
            "error": {"message": _clean(message), "type": kind, "param": param, "code": code}
        }


def refused(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """The request cannot be answered as it is."""
    return ApiError(400, message, param=param, code=code)


def busy(message: str) -> ApiError:
    """The request may be sent again in a moment, which the clients of OpenAI's do by themselves."""
    return ApiError(429, message, kind="rate_limit_error", code="busy", headers={"Retry-After": "1"})


def _clean(text: str) -> str:
    """Text that UTF-8 has bytes for: a request may name halves of characters."""
    return text.encode(errors="backslashreplace").decode()
