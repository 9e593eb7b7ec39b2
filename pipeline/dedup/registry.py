"""The registry says which item is asked each prompt: the first one that claimed the prompt's key.

In: pairs of a prompt's key and an item's key. Out: the owner of each prompt. All tasks of a run claim at one
actor, on the driver's node. A claim that is repeated has the same reply, so a task may be repeated. If the
actor dies, every task asks its own items from then on; the earlier replies stay true, because each of the
owners that they named had been told to ask. The keys lie in a private file of SQLite, which has no name and
goes with the process.
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
    """An empty database on disk that nobody else sees; at most `cache_mib` of it are in memory.

    All of it is one transaction that never ends: nobody wants it back after a crash.
    """
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for setting in (f"cache_size = -{cache_mib * 1024}", "journal_mode = OFF", "synchronous = OFF"):
        database.execute(f"PRAGMA {setting}")
    database.execute("BEGIN")
    return database


class Registry:
    """Which item is asked each prompt."""

    def __init__(self) -> None:
        self._database = private_database(CACHE_MIB)
        self._database.execute("CREATE TABLE claims (key BLOB PRIMARY KEY, item BLOB) WITHOUT ROWID")

    def claim(self, pairs: Sequence[Pair]) -> list[str]:
        """The item that owns each key: the first one that claimed it, now or before."""
        self.note(pairs)
        find = "SELECT item FROM claims WHERE key = ?"
        return [self._database.execute(find, (bytes.fromhex(key),)).fetchone()[0].hex() for key, _ in pairs]

    def note(self, pairs: Iterable[Pair]) -> None:
        """Claims without a reply."""
        rows = ((bytes.fromhex(key), bytes.fromhex(item)) for key, item in pairs)
        self._database.executemany("INSERT OR IGNORE INTO claims VALUES (?, ?)", rows)


def own(pairs: Sequence[Pair]) -> list[str]:
    """The claim of a run that shares nothing: every item owns its prompt."""
    return [item for _, item in pairs]


class SharedRegistry:
    """The registry of a run: an actor, which the driver starts and closes."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # On the driver's node: the run ends with this node anyway, and with it what the actor has promised.
        actor = ray.remote(Registry).options(num_cpus=0, max_restarts=0, scheduling_strategy=here)
        self.actor: Any = actor.remote()  # Ray's types know no options of an actor

    @property
    def claim(self) -> Claim:
        """The function that travels to the tasks."""
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
    """Claims at the actor, from a task."""

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
