"""What a run is refused for before it starts."""

import logging

import pytest

from pipeline import prepare
from pipeline.plan.limits import Limits


def test_a_machine_without_a_part_of_the_sandbox_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prepare, "lacking", lambda: "Landlock (ENOSYS)")
    with caplog.at_level(logging.WARNING):
        prepare.check_sandbox(Limits())
    assert caplog.messages == [
        "documents are confined less than they could be: this machine lacks Landlock (ENOSYS)"
    ]
    with pytest.raises(ValueError, match=r"--require-sandbox: this machine lacks Landlock .ENOSYS.; run on"):
        prepare.check_sandbox(Limits(sandbox_required=True))


def test_a_machine_that_has_all_of_it_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prepare, "lacking", lambda: None)
    prepare.check_sandbox(Limits(sandbox_required=True))
    assert not caplog.messages
