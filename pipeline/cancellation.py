"""The driver asks the tasks of a run to stop: no document is opened any more, no page drawn, no prompt asked.

Prompts that a Replica was asked before are answered and committed. The request is a key in the store of Ray's
head; without Ray there is none.
"""

import time
from functools import cache

from pipeline.ray_internals import get_key, is_key_set, set_key

LOOK_SECONDS = 0.5  # between two looks of one process: each look is a message to the head


def ask_to_stop(run_id: str, why: str) -> None:
    """From now on the tasks of the run begin nothing. `why` is a word for its run.json."""
    set_key(_key(run_id), why.encode())


def why_stopping(run_id: str) -> str | None:
    """The word with which the run was asked to end; None if it was not."""
    found = get_key(_key(run_id))
    return None if found is None else found.decode()


def is_stopping(run_id: str) -> bool:
    """Whether the run was asked to end; known within half a second."""
    return _wish(run_id).look()


@cache  # once a worker process
def _wish(run_id: str) -> "_Wish":
    return _Wish(run_id)


class _Wish:
    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._looked = -LOOK_SECONDS
        self._found = False

    def look(self) -> bool:
        now = time.monotonic()
        if not self._found and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._found = is_key_set(_key(self._run_id))
        return self._found


def _key(run_id: str) -> bytes:
    return f"stop-{run_id}".encode()
