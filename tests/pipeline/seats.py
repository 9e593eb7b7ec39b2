"""An engine that only counts: what the tests of waiting, overlapping and failing drive instead of a model."""

import time

from model.engine.request import Completion, Group, Progress


class SeatsEngine:
    """Each step writes a token for each branch that has a seat; a branch writes `max_new_tokens` of them."""

    def __init__(self, seats: int, *, breaks_at: int | None = None, step_seconds: float = 0.001) -> None:
        self.steps = 0
        self.taken = 0
        """Seats that were taken, summed over the steps."""
        self._seats = seats
        self._breaks_at = breaks_at
        self._step_seconds = step_seconds
        self._queue: list[tuple[str, int]] = []
        self._left: dict[str, int] = {}

    @property
    def pending(self) -> int:
        return len(self._queue) + len(self._left)

    def submit(self, group: Group) -> list[str]:
        self._queue += [(branch.id, branch.max_new_tokens) for branch in group.branches]
        return [branch.id for branch in group.branches]

    def step(self) -> list[Completion]:
        time.sleep(self._step_seconds)
        self.steps += 1
        if self.steps == self._breaks_at:
            raise OSError("the device is gone")
        while self._queue and len(self._left) < self._seats:
            branch, tokens = self._queue.pop(0)
            self._left[branch] = tokens
        self.taken += len(self._left)
        self._left = {branch: left - 1 for branch, left in self._left.items()}
        done = [branch for branch, left in self._left.items() if not left]
        for branch in done:
            del self._left[branch]
        return [completion(branch) for branch in done]

    def abort(self, id: str) -> None:
        self._queue = [waiting for waiting in self._queue if waiting[0] != id]
        self._left.pop(id, None)

    def progress(self) -> list[Progress]:
        return []


def completion(branch: str) -> Completion:
    """An answer without words."""
    return Completion(
        id=branch, token_ids=[], logprobs=[], finish_reason="stop", prompt_tokens=1, cached_tokens=0
    )
