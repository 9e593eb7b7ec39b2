"""Runs that want one output at once: what the tests of each store share."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.commit import lease as leases
from pipeline.commit.delta_log import Change
from pipeline.commit.heartbeat import last_heartbeat
from pipeline.commit.lease import Lease
from pipeline.commit.tables import create_tables
from tests.pipeline.stored import answers_file, visible


def assert_one_gets_it(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three runs into an output under `root`, one has it, keeps it, writes into it and gives it back."""
    tables = create_tables(f"{root}/mix/", None)
    with ThreadPoolExecutor(3) as pool:
        asking = [Lease(tables, str(n)) for n in range(3)]
        futures = [pool.submit(lease.acquire) for lease in asking]
        errors = [future.exception() for future in futures]
    (lease,) = [lease for lease, error in zip(asking, errors, strict=True) if error is None]
    with pytest.raises(ValueError, match="is being written by run"):
        Lease(tables, "late").acquire()
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.0)
    lease.beat()
    assert last_heartbeat(f"{root}/mix", lease._run_id) > time.time() - 250
    lease.commit("answers", Change(added=[answers_file(tables, "a")]))
    lease.release()
    assert visible(tables["answers"]) == ["a"]
