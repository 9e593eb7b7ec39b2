"""The supervisor's retry queue: groups in; which to ask next, and which are given up, out.

A group of ranks that dies takes with it what it was being asked, and one of these pages may be the reason.
What was finished is never asked again; the others are suspects, and are asked in halves, nothing beside
them, until they are answered or one of them is alone. A page that was alone three times when the ranks died
is given up, so that no page pays for its neighbours. No Ray here, and no processes.

Example: of the pages 1 to 8 the 3rd kills. 8 die, 4 die, 1 2 are answered... 3 4 die, 3 dies three times and
fails, then 4 and 5 to 8 are answered: six deaths, one failure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.engine.request import Completion, Group, failed

TRIES = 3  # deaths for which a page is given up that was asked alone


@dataclass(eq=False)
class _Page:
    group: Group
    missing: set[str]
    """Its branches that are not answered."""
    deaths: int = 0
    """How often the ranks died while they were asked nothing else."""

    def rest(self) -> Group:
        branches = [branch for branch in self.group.branches if branch.id in self.missing]
        return replace(self.group, branches=branches)


class RetryQueue:
    """Groups from their arrival to their last completion."""

    def __init__(self) -> None:
        self._waiting: list[_Page] = []
        self._suspects: list[list[_Page]] = []  # the next ones last
        self._asked: dict[str, _Page] = {}  # by branch
        self._are_suspects = False  # those that are asked

    @property
    def asked(self) -> int:
        """Branches that the ranks are being asked."""
        return len(self._asked)

    @property
    def idle(self) -> bool:
        """Nothing is asked, and nothing waits for it."""
        return not (self._asked or self._waiting or self._suspects)

    def add(self, groups: Sequence[Group]) -> None:
        """New groups, whose branch ids are unique."""
        self._waiting += [_Page(group, {branch.id for branch in group.branches}) for group in groups]

    def next(self) -> list[Group]:
        """What is to be asked now, beside what is being asked already."""
        if self._asked and self._are_suspects:
            return []
        self._are_suspects = bool(self._suspects)
        if self._suspects:
            pages = self._suspects.pop()
        else:
            pages, self._waiting = self._waiting, []
        self._asked |= {branch: page for page in pages for branch in page.missing}
        return [page.rest() for page in pages]

    def finish(self, completions: Sequence[Completion]) -> None:
        """These branches are answered."""
        for completion in completions:
            self._asked.pop(completion.id).missing.remove(completion.id)

    def lose(self, error: Exception) -> list[Completion]:
        """The ranks have died of `error`; completions of the page that is given up, if one is."""
        pages = list(dict.fromkeys(self._asked.values()))
        self._asked.clear()
        if len(pages) == 1:
            page = pages[0]
            page.deaths += 1
            if page.deaths >= TRIES:
                group = page.rest()
                return [failed(group, branch, error) for branch in group.branches]
        middle = len(pages) // 2
        self._suspects += [half for half in (pages[middle:], pages[:middle]) if half]
        return []
