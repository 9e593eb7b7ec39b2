"""The validators of a user's target run in a child process: what they do to it costs one item, not the run.

In: the model's texts, one at a time. Out: the target's values, or an AnswerError: what `read_target` says, or
`crash` and `timeout`. A text at which the child dies is tried once more in a fresh child before that is
believed: somebody else may have killed the first one.
"""

import sys
from types import SimpleNamespace
from typing import Any, Final

from pipeline.child_process import ChildLostError, ChildProcess
from pipeline.parse.answers import AnswerError

MODULE: Final = "pipeline.parse.validator_main"
START_SECONDS: Final = 120.0  # to import the target's module, and to be told of a text
TRIES: Final = 2  # of one text


class Validator:
    """Reads texts of one target. It starts its child with the first of them."""

    def __init__(self, target: str, seconds: float = 60.0) -> None:
        """`target` is module:Class; no text may take more than so many seconds, however it spends them."""
        self._target = target
        self._seconds = seconds
        self._child: ChildProcess | None = None

    def __call__(self, raw_text: str) -> SimpleNamespace:
        """An object with the target's fields, of which `to_row` makes the row. Raises AnswerError."""
        for _ in range(TRIES):
            try:
                found = self._ask(raw_text)
            except ChildLostError as error:
                self.close()
                lost = error
                continue
            if found is None:
                self.close()
                raise AnswerError("timeout", f"the target's validators took more than {self._seconds:g} s")
            if isinstance(found, AnswerError):
                raise found
            revived: SimpleNamespace = _revive(found)
            return revived
        raise AnswerError("crash", f"the target's validators were tried {TRIES} times: {lost}")

    def close(self) -> None:
        """Ends the child; the next text starts another."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _ask(self, raw_text: str) -> dict[str, Any] | AnswerError | None:
        if self._child is None or not self._child.is_alive():
            self.close()
            self._child = ChildProcess(MODULE, seconds=START_SECONDS)
            self._child.send((sys.path, self._target))
            if self._child.receive(START_SECONDS) is None:
                raise ChildLostError(f"{self._target} could not be imported in {START_SECONDS:.0f} s")
        self._child.send(raw_text)
        found: dict[str, Any] | AnswerError | None = self._child.receive(self._seconds)
        return found


def _revive(value: Any) -> Any:
    """Rows as objects: a target itself need not be one that can be pickled, and has code of the user's."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: _revive(item) for name, item in value.items()})
    return [_revive(item) for item in value] if isinstance(value, list) else value
