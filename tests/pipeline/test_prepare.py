"""What a run is refused for before it starts."""

import logging

import pyarrow as pa
import pytest

from pipeline import prepare
from pipeline.plan.limits import Limits
from schemas.targets import Question


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


def test_a_question_that_no_document_is_asked_is_said(caplog: pytest.LogCaptureFixture) -> None:
    documents = ["*.pdf", "in/**/b.png", "*.nothing", "c.pdf", None, "in/b.png/", "x/b.png"]
    questions = [Question(text=f"{number}?", documents=glob) for number, glob in enumerate(documents)]
    prepare.warn_of_unasked(pa.table({"uri": ["/in/a.pdf", "/in/deep/b.png"]}), questions)
    assert caplog.messages == [
        "no document matches *.nothing: nobody is asked '2?'",
        "no document matches c.pdf: nobody is asked '3?'",
        "no document matches in/b.png/: nobody is asked '5?'",
        "no document matches x/b.png: nobody is asked '6?'",
    ]
