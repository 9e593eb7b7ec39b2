"""What a run is refused for before it starts."""

import pyarrow as pa
import pytest

from pipeline import prepare
from schemas.targets import Question


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
