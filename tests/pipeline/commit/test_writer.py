"""What has gathered is committed once, whatever interrupts it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.run.signals import graceful
from pipeline.commit import writer
from pipeline.commit.lease import Lease
from tests.pipeline.local import Machine
from tests.pipeline.pile import write_pile


@pytest.mark.parametrize("step", ["write_rows", "commit"])
def test_a_signal_amid_a_commit_waits_for_its_end(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The first signal after the first step of each commit."""
    struck = 0

    def interrupt(really: Callable[..., Any]) -> Callable[..., Any]:
        def do(*args: Any, **kwargs: Any) -> Any:
            nonlocal struck
            done = really(*args, **kwargs)
            struck += 1
            os.kill(os.getpid(), signal.SIGTERM)
            return done

        return do

    documents = write_pile(tmp_path / "in", 2)
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    prepared = machine.prepare(documents)
    with monkeypatch.context() as patch:
        place = writer if step == "write_rows" else Lease
        patch.setattr(place, step, interrupt(getattr(place, step)))
        with graceful(lambda: None), pytest.raises(KeyboardInterrupt):
            machine.carry_out(prepared)
    assert struck
    there = len(machine.items())  # which checks that none is twice
    assert there > 0
    machine.run(documents)
    assert machine.asked > 0
    assert len(machine.items()) > there
