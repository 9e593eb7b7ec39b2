"""The passwords of a run reach its tasks through the store of Ray's head, which keeps them in memory.

In: a plan. Out: a plan without them, for the tasks; and in a task the passwords. Rows and plans lie in Ray's
object store, from which Ray may write them to disk.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

from pipeline.plan.plan import Plan
from pipeline.ray_internals import delete_key, get_key, set_key


@contextmanager
def handed_over(plan: Plan) -> Iterator[Plan]:
    """The plan for the tasks, who find the passwords as long as this lasts."""
    if not plan.passwords:
        yield plan
        return
    set_key(_key(plan.run_id), json.dumps(plan.passwords).encode())
    try:
        yield replace(plan, passwords=())
    finally:
        delete_key(_key(plan.run_id))


def passwords_of(plan: Plan) -> tuple[str, ...]:
    """The passwords of the plan's run, tried on documents that need one."""
    return plan.passwords or _found(plan.run_id)


@cache  # once a worker process: each look is a message to the head
def _found(run_id: str) -> tuple[str, ...]:
    value = get_key(_key(run_id))
    return tuple(json.loads(value)) if value else ()


def _key(run_id: str) -> bytes:
    return f"passwords-{run_id}".encode()
