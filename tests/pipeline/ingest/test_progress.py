"""A long listing says how far it has come, and a short one nothing."""

import pytest

from pipeline.ingest.progress import Progress


def test_a_sentence_comes_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [100.0], list[str]()
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    counting = Progress(said.append)
    for second in range(13):
        now[0] = 100.0 + second
        counting.listed(1_000)
    assert said == ["listing: 6,000 documents so far", "listing: 11,000 documents so far"]
    now[0] += 5
    counting.compared(70)
    assert said[2:] == ["comparing with the output: 70 of its rows so far"]
