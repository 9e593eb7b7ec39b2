"""The retry queue of a TPSupervisor: groups in; the groups to ask next, and those that are given up, out.

When a group of ranks dies, the pages that it was being asked are lost, and one of them may be the cause.
Pages that were finished are never asked again. The lost ones are suspects: they are asked in halves, with
nothing beside them, until they are answered or one of them is alone. A page that was alone at three deaths of
the ranks is given up. So no page pays for its neighbours. There is no Ray here, and there are no processes.

Example: of the pages 1 to 8 the 3rd kills. 8 die, 4 die, 1 2 are answered... 3 4 die, 3 dies three times and
fails, then 4 and 5 to 8 are answered: six deaths, one failure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from model.engine.request import Completion, Group, failed

TRIES = 3  # deaths of the ranks at a page that was asked alone: then it is given up


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
        """The groups to ask now, beside those that are being asked already."""
        if self._asked and self._are_suspects:
            return []
        self._are_suspects = bool(self._suspects)
        if self._suspects:
            pages = self._suspects.pop()
        else:
            pages, self._waiting = self._waiting, []
        self._asked |= {branch: page for page in pages for branch in page.missing}
        return [page.rest() for page in pages]

    def finish(self, completions: Sequence[Completion]) -> list[Completion]:
        """These branches are answered. Returns the completions but for those of branches called off."""
        wanted = [completion for completion in completions if completion.id in self._asked]
        for completion in wanted:
            self._asked.pop(completion.id).missing.remove(completion.id)
        return wanted

    def abort(self, ids: Sequence[str]) -> list[str]:
        """Forgets these branches, wherever they are; returns those that the ranks are being asked."""
        gone = set(ids)
        for page in [*self._waiting, *chain.from_iterable(self._suspects), *self._asked.values()]:
            page.missing -= gone
        self._waiting = [page for page in self._waiting if page.missing]
        left = ([page for page in pages if page.missing] for pages in self._suspects)
        self._suspects = [pages for pages in left if pages]
        return [id for id in ids if self._asked.pop(id, None) is not None]

    def lose(self, error: Exception) -> list[Completion]:
        """Notes that the ranks have died of `error`; completions of the page that is given up, if one is."""
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
