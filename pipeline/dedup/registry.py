"""Keys of prompts in; for each, the item that is asked it, out: whoever claims a prompt first.

All tasks of a run claim at one place, an actor beside the driver, so that of all items with one prompt a
single one is asked. A claim that is repeated says the same again. Should the actor die, every item is its own
from then on and is asked itself: what was promised before still holds, since who was named had been told to
ask. The keys lie in a private file of SQLite, which has no name and goes with the process.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

CACHE_MIB = 64  # of the keys that the actor keeps in memory: about a million

Pair = tuple[str, str]  # a key of 32 hex digits, and the key of the item that claims it
Claim = Callable[[Sequence[Pair]], list[str]]  # the item that owns each key

_log = logging.getLogger(__name__)


def private_database(cache_mib: int) -> sqlite3.Connection:
    """An empty database on disk that nobody else sees; what is above `cache_mib` of it is not in memory.

    All of it is one transaction that never ends: nobody wants it back after a crash.
    """
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for setting in (f"cache_size = -{cache_mib * 1024}", "journal_mode = OFF", "synchronous = OFF"):
        database.execute(f"PRAGMA {setting}")
    database.execute("BEGIN")
    return database


class Registry:
    """Which item is asked which prompt."""

    def __init__(self) -> None:
        self._database = private_database(CACHE_MIB)
        self._database.execute("CREATE TABLE claims (key BLOB PRIMARY KEY, item BLOB) WITHOUT ROWID")

    def claim(self, pairs: Sequence[Pair]) -> list[str]:
        """The item that owns each key: the first one that claimed it, now or before."""
        self.note(pairs)
        find = "SELECT item FROM claims WHERE key = ?"
        return [self._database.execute(find, (bytes.fromhex(key),)).fetchone()[0].hex() for key, _ in pairs]

    def note(self, pairs: Iterable[Pair]) -> None:
        """The same, where nobody wants to know."""
        rows = ((bytes.fromhex(key), bytes.fromhex(item)) for key, item in pairs)
        self._database.executemany("INSERT OR IGNORE INTO claims VALUES (?, ?)", rows)


def own(pairs: Sequence[Pair]) -> list[str]:
    """The claim where nothing is shared: every item owns its own."""
    return [item for _, item in pairs]


class SharedRegistry:
    """The claims of a run's tasks, at an actor that lives as long as this object of the driver's."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # Where the driver is: a node that goes, with what it has promised, takes the run with it anyway.
        actor = ray.remote(Registry).options(num_cpus=0, max_restarts=0, scheduling_strategy=here)
        self.actor: Any = actor.remote()  # Ray's types know no options of an actor

    @property
    def claim(self) -> Claim:
        """What travels to the tasks."""
        return _RegistryClient(self.actor)

    def note(self, pairs: Sequence[Pair]) -> None:
        """Claims of before the run."""
        self._wait(self.actor.note.remote(pairs))

    def close(self) -> None:
        """Ends the actor. Says it once if it had died before: from then on nothing was shared."""
        self._wait(self.actor.note.remote([]))
        ray.kill(self.actor)

    def _wait(self, reply: Any) -> None:
        try:
            ray.get(reply)
        except RayError:
            _log.warning(
                "the process that knows which pages are identical has died: since then each was asked itself"
            )


class _RegistryClient:
    """A claim from a task."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __call__(self, pairs: Sequence[Pair]) -> list[str]:
        if not pairs:
            return []
        try:
            # Not ray.get, during which Ray takes the task's CPU for idle and starts another process on it.
            owners: list[str] = self._actor.claim.remote(pairs).future().result()
        except RayError:
            return own(pairs)
        return owners
