"""The samples are what their script draws, and each can be opened."""

import json
from pathlib import Path

import pytest

from pipeline.rasterize.pdf import open_document, rasterize
from samples.draw import samples
from samples.sample import Sample
from schemas.targets import load_questions

FOLDER = Path("samples")
DRAWN = {sample.name: sample for sample in samples()}


@pytest.mark.parametrize("sample", DRAWN.values(), ids=DRAWN)
def test_document_is_drawn_by_the_script(sample: Sample) -> None:
    """Equal as pixels: encoders may write the same image in other bytes."""
    committed = (FOLDER / "documents" / sample.name).read_bytes()
    with open_document(committed, sample.name) as old, open_document(sample.data, sample.name) as new:
        assert old.page_count == new.page_count == max(page for page, _, _ in sample.asked)
        for page in range(1, new.page_count + 1):
            before, after = (rasterize(one, page, max_side=512, patch_size=16)[0] for one in (old, new))
            assert (before == after).all()


def test_questions_and_expected_answers_are_the_script_s() -> None:
    assert {path.name for path in (FOLDER / "documents").iterdir()} == set(DRAWN)
    questions = load_questions(FOLDER / "questions.jsonl")
    expected = [json.loads(line) for line in (FOLDER / "expected.jsonl").read_text("utf-8").splitlines()]
    asked = [(name, page, text, answers) for name, s in DRAWN.items() for page, text, answers in s.asked]
    assert [(q.documents, q.pages, q.text) for q in questions] == [(n, [p], t) for n, p, t, _ in asked]
    assert [
        (e["document"].removeprefix("documents/"), e["page"], e["question"], e["answers"]) for e in expected
    ] == asked
