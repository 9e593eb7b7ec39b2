"""The end of a run in; a POST of its summary to a webhook out: `--notify URL`.

The body is JSON with a field `text`, as Slack, Mattermost and Google Chat read it, and the same in numbers
for programs. It holds no password, no key and no question. A webhook that does not answer fails no run; that
is said.
"""

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final
from urllib.parse import urlsplit

from jobs.run.endings import FAILED, INTERRUPTED, code_of, sentence_of
from jobs.run.terminal import is_json, say, say_error, say_event
from jobs.run.web_posts import open_alone, why
from pipeline.ingest.object_uris import is_private
from pipeline.ingest.outages import is_passing

SECONDS: Final = 10.0  # for one try
WAITS: Final = (1.0, 4.0)  # seconds before the second try and the third
_REASONS: Final = 10  # of failures, that are told


def check_address(url: str) -> str:
    """The address of --notify. Raises ValueError for one that is none; the sentence does not repeat it."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")  # which a request needs: no part of a name may be empty
    except ValueError:
        good = False
    if (
        not good
        or parts.username
        or parts.password
        or not url.isascii()
        or re.search(r"[\x00-\x20\x7f]", url)
    ):
        raise ValueError("--notify: give the http(s) address of a webhook, without a name and a password")
    return url


def tell_end(
    output: str, code: int, record: dict[str, Any] | None, sentence: str | None, url: str | None
) -> None:
    """Says how a run ended, on stderr and to the webhook; its summary on stdout is the job's.

    `record` is its run.json, if it came so far; `sentence` what there is to say besides.
    """
    if sentence is not None:
        say_error(sentence)
    tell(output, code, record, sentence, url)


def tell(
    output: str, code: int, record: dict[str, Any] | None, sentence: str | None, url: str | None
) -> None:
    """Tells a log of JSON and the webhook how a run ended."""
    message = message_of(output, code, record, sentence)
    if is_json():
        say_event("summary", "error" if code else "info", **message)
    if url is not None:
        notify(url, message)


def tell_unstarted(error: ValueError | KeyboardInterrupt, output: str | None, url: str | None) -> int:
    """Says why a run did not begin; returns the exit code. `output` is None where no flag could be read."""
    if isinstance(error, KeyboardInterrupt):
        sentence, code = "stopped: the same command continues", INTERRUPTED
    else:
        sentence, code = sentence_of(error), code_of(error)
    if output is None:
        say_error(sentence)
    else:
        tell_end(output, code, None, sentence, url)
    return code


@contextmanager
def faults_told(output: str, url: str | None) -> Iterator[None]:
    """Tells of an error that nobody expected, too, and lets it go on its way: the log has the rest."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        tell_end(
            output, FAILED, None, f"broken off by a fault ({type(error).__name__}); the log says more", url
        )
        raise


def notify(url: str, message: dict[str, Any]) -> None:
    """Sends it; a few tries. Says so where nobody takes it."""
    outcome: SimpleQueue[str | None] = SimpleQueue()
    # Not in this thread: a webhook that sends a byte now and then is never silent, and the run has to end.
    Thread(target=lambda: outcome.put(_send(url, json.dumps(message).encode())), daemon=True).start()
    try:
        reason = outcome.get(timeout=SECONDS * (len(WAITS) + 1) + sum(WAITS))
    except Empty:
        reason = "no answer in time"
    if reason is not None:
        # The path of a webhook is its key.
        say(f"the webhook at {urlsplit(url).hostname} could not be told of the end of the run: {reason}")


def _send(url: str, body: bytes) -> str | None:
    """Why nobody took it; None: somebody did."""
    headers = {"Content-Type": "application/json", "User-Agent": "quire"}
    reason = None
    for wait in (*WAITS, None):
        try:
            with open_alone(urllib.request.Request(url, body, headers, method="POST"), SECONDS):
                return None
        except urllib.error.HTTPError as error:
            with error:
                reason = f"it answers {error.code}"
            if not is_passing(error.code):
                break  # a second try would meet the same
        except (OSError, http.client.HTTPException) as error:
            reason = why(error)
        if wait is not None:
            time.sleep(wait)
    return reason


def message_of(output: str, code: int, record: dict[str, Any] | None, sentence: str | None) -> dict[str, Any]:
    """What is told of a run, in words and in numbers."""
    if is_private(output):  # a mistake, which the sentence names
        output = "an output with credentials"
    message: dict[str, Any] = {"output": output, "exit_code": code, "error": sentence if code else None}
    if record is None:
        return {"text": f"Quire: {output}: {sentence}"} | message
    counts, failures = record["counts"], record["failures"]
    text = (
        f"Quire: {output}: {counts['documents_done']:,} of {counts['documents']:,} documents done "
        f"({counts['complete']:,} complete, {counts['partial']:,} partial, "
        f"{counts['failed_documents']:,} failed)"
    )
    if failures:
        text += "; failures of this run: " + ", ".join(
            f"{name} {count:,}" for name, count in _first(failures)
        )
    if record["ended"] == "max-hours":
        text += "; ended by --max-hours"
    for drift in record["drift"]:
        text += f"; drift: {drift}"
    if sentence:
        text += f"; {sentence}"
    names = ("run_id", "started_at", "finished_at", "ended", "counts", "timings", "drift")
    facts = {name: record[name] for name in names}
    return {"text": text} | message | facts | {"failures": dict(_first(failures))}


def _first(failures: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(failures.items(), key=lambda one: -one[1])[:_REASONS]
