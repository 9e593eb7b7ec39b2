"""A store that refuses the credentials is one sentence of a run, before Ray starts."""

from pathlib import Path

import pytest

from jobs import extract
from tests.pipeline.s3 import Server


def assert_refused_in_a_sentence(
    store: Server,
    address: str,
    at: str,
    checkpoint: Path,
    secret: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of a run from in/ to out/ at this address, whose store refuses what lies under `at`."""
    monkeypatch.setattr("jobs.run.runner.connected", lambda: pytest.fail("Ray was started"))
    store.fail(403, 1_000, "", at)
    places = ["--input", f"{address}/in", "--output", f"{address}/out"]
    assert extract.main([*places, "--model", str(checkpoint), "--question", "What?"]) == 2
    said = capsys.readouterr().err
    assert "refused the credentials" in said
    assert said.count("\n") == 1
    assert secret not in said
    assert store.struck() >= 1
