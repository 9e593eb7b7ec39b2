"""The validators of a user's target run in a child process: what they do to it costs one item, not the run.

In: the model's texts. Out: the target's values, or an AnswerError: what `read_target` says, or `crash` and
`timeout`. A text at which the child dies is tried once more in a fresh child before that is believed:
somebody else may have killed the first one. Threads that ask at a time have a child each, up to CHILDREN.
"""

import sys
from threading import BoundedSemaphore
from types import SimpleNamespace
from typing import Any, Final

from pipeline.child_process import ChildLostError, ChildProcess
from pipeline.parse.answers import AnswerError

MODULE: Final = "pipeline.parse.validator_main"
START_SECONDS: Final = 120.0  # to import the target's module, and to be told of a text
TRIES: Final = 2  # of one text
CHILDREN: Final = 4  # at most: a text that hangs keeps one of them for as long as it may


class Validator:
    """Reads texts of one target, in any thread. It starts a child where none is free."""

    def __init__(self, target: str, seconds: float = 60.0) -> None:
        """`target` is module:Class; no text may take more than so many seconds, however it spends them."""
        self._target = target
        self._seconds = seconds
        self._turns = BoundedSemaphore(CHILDREN)
        self._free: list[ChildProcess] = []

    def __call__(self, raw_text: str) -> SimpleNamespace:
        """An object with the target's fields, of which `to_row` makes the row. Raises AnswerError."""
        with self._turns:
            for _ in range(TRIES):
                try:
                    found = self._ask(raw_text)
                except ChildLostError as error:
                    lost = error
                    continue
                if isinstance(found, AnswerError):
                    raise found
                revived: SimpleNamespace = _revive(found)
                return revived
        raise AnswerError("crash", f"the target's validators were tried {TRIES} times: {lost}")

    def close(self) -> None:
        """Ends the children that are free; the next text starts another."""
        while (child := self._pop()) is not None:
            child.kill()

    def _ask(self, raw_text: str) -> dict[str, Any] | AnswerError:
        child = self._take()
        found: dict[str, Any] | AnswerError | None = None
        try:
            child.send(raw_text)
            found = child.receive(self._seconds)
        finally:
            if found is None:  # it was lost, or took too long
                child.kill()
            else:
                self._free.append(child)
        if found is None:
            return AnswerError("timeout", f"the target's validators took more than {self._seconds:g} s")
        return found

    def _pop(self) -> ChildProcess | None:
        try:
            return self._free.pop()
        except IndexError:  # another thread took the last one
            return None

    def _take(self) -> ChildProcess:
        while (free := self._pop()) is not None:
            if free.is_alive():
                return free
            free.kill()
        child = ChildProcess(MODULE, seconds=START_SECONDS)
        child.send((sys.path, self._target))
        if child.receive(START_SECONDS) is None:
            child.kill()
            raise ChildLostError(f"{self._target} could not be imported in {START_SECONDS:.0f} s")
        return child


def _revive(value: Any) -> Any:
    """Rows as objects: a target itself need not be one that can be pickled, and has code of the user's."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: _revive(item) for name, item in value.items()})
    return [_revive(item) for item in value] if isinstance(value, list) else value
