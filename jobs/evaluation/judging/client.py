"""A chat endpoint in OpenAI's form, over HTTP: one question, one answer, with limits and second tries.

In: messages. Out: the text of the first choice. The key comes from the environment and goes into one header;
no message names it.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from jobs.run.web_posts import open_alone, why

SECONDS: Final = 120.0  # for one answer
TRIES: Final = 3
WAIT_SECONDS: Final = 1.0  # before the second try, then twice as long
MAX_TOKENS: Final = 2_048
_MOST_BYTES: Final = 2**24  # of a reply
_REFUSED: Final = (401, 403)
_WRONG: Final = (400, 404, 405, 422)  # a second try would meet the same


class JudgeError(Exception):
    """It does not answer. The message is a reason of a few words, to be counted."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a judge answers, such as https://api.openai.com/v1. Raises ValueError for what is no such URL."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    seconds: float = SECONDS
    wait_seconds: float = field(default_factory=lambda: WAIT_SECONDS)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"--judge {self.url}: give the URL of an endpoint, such as http://host:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "--judge: a URL alone, without a name, a key or a query: keys are for JUDGE_API_KEY"
            )

        if self.key is not None and not (self.key.isascii() and self.key.isprintable()):
            raise ValueError(
                "JUDGE_API_KEY holds a character that no key has, such as a line feed at its end"
            )

    def check(self) -> None:
        """Raises ValueError if nobody answers there, or the key is refused: before a model runs."""
        try:
            self._send("models", None)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in _REFUSED:
                    raise ValueError(
                        f"--judge {self.url} refuses the key ({error.code}): set JUDGE_API_KEY"
                    ) from error
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise ValueError(f"--judge {self.url} does not answer: {why(error)}") from error

    def ask(self, messages: Sequence[Mapping[str, Any]], max_tokens: int | None = MAX_TOKENS) -> str:
        """What the judge says. Tries a few times. Raises JudgeError."""
        asked: dict[str, Any] = {"model": self.model, "messages": messages, "temperature": 0.0}
        if max_tokens is not None:
            asked["max_tokens"] = max_tokens
        body = json.dumps(asked).encode()
        reason = ""
        for number in range(TRIES):
            if number:
                time.sleep(self.wait_seconds * 2 ** (number - 1))
            try:
                reply = json.loads(self._send("chat/completions", body))
                text = reply["choices"][0]["message"]["content"]
            except urllib.error.HTTPError as error:
                with error:
                    reason = f"HTTP {error.code}"
                    if error.code in _REFUSED + _WRONG:
                        break
            except TimeoutError:
                reason = f"no answer in {self.seconds:g} s"
            except (OSError, http.client.HTTPException) as error:
                reason = why(error)
            except (ValueError, LookupError, TypeError):
                reason = "a reply that is no chat completion"
            else:
                if isinstance(text, str):
                    return text
                reason = "a reply without a text"
        raise JudgeError(reason)

    def _send(self, path: str, body: bytes | None) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "quire"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/{path}", body, headers)
        with open_alone(request, self.seconds) as reply:
            return bytes(reply.read(_MOST_BYTES))
