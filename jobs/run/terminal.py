"""Text on its way to a terminal: documents, names of files and libraries' errors do not get to steer it.

In: text from anywhere. Out: the same text, in which control characters are written as Python writes them in a
string (\\x1b). An escape sequence may hide or forge lines, set the clipboard, or make a terminal answer as if
somebody typed. All that the jobs print goes through here, and the log.
"""

import io
import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TextIO

# C0 but tab and line feed, DEL, C1; separators of lines and paragraphs; what turns the direction of the text
# behind it; and halves of characters, which no terminal can be sent.
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def shown(text: str) -> str:
    """The text without control characters, on its lines. Example: ESC becomes the four \\x1b."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


_is_json = False


def write_json(wanted: bool) -> None:
    """From now on, whether this process writes JSON to stderr."""
    global _is_json
    _is_json = wanted


def is_json() -> bool:
    """Whether this process writes JSON to stderr."""
    return _is_json


def say(text: str, file: TextIO | None = None, end: str = "\n") -> None:
    """Prints what a job has to say, at once; to stderr if no file is given."""
    if _is_json and file is None:
        say_event("message", text=text)
    else:
        print(shown(text), file=sys.stderr if file is None else file, end=end, flush=True)


def say_error(text: str) -> None:
    """Prints a sentence on one line: the names in it may hold line feeds."""
    if _is_json:
        say_event("message", "error", text=text)
    else:
        say(text.replace("\n", "\\n"))


def say_event(event: str, level: str = "info", **facts: Any) -> None:
    """Prints a line of JSON to stderr; what is no ASCII is escaped in it."""
    print(_json_line(event, level, facts), file=sys.stderr, flush=True)


def _json_line(event: str, level: str, facts: dict[str, Any]) -> str:
    line = {"at": datetime.now(UTC).isoformat(), "level": level, "event": event, **facts}
    return json.dumps(line, default=str)


def start_output(level: int) -> None:
    """Before a job prints anything: its log and its uncaught errors go through here, to stderr.

    A character that the encoding of stdout lacks is written out, too, as on stderr: PYTHONIOENCODING=ascii is
    no reason to lose the summary of a run.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Shown("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    sys.excepthook = _say_uncaught
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _say_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, trace)).rstrip("\n")
    if _is_json:
        say_event("crash", "error", text=text)
    else:
        say(text)


class _Shown(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if _is_json:
            return _json_line("log", record.levelname.lower(), {"logger": record.name, "text": text})
        return shown(text)
