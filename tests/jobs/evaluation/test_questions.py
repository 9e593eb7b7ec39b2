"""OUT/questions: what tells a data set, and the questions that follow the model's own answers."""

from pathlib import Path
from typing import Any

import pytest

from jobs.evaluation import loading, questions
from jobs.evaluation.datasets.conversations import follow
from jobs.evaluation.datasets.finding import find
from tests.jobs.evaluation import published
from tests.jobs.evaluation.test_datasets import asked, jsonl


def write(place: Path, output: Path, *, judged: bool = True, **options: Any) -> questions.Source:
    """Writes the questions of a data set."""
    given: dict[str, Any] = {"style": "short", "measures": ("anls",), "limit": None} | options
    some = loading.questions(find(str(place)), judged=judged, **given)
    return questions.write(str(output), some, name="x", place="x", note=lambda count: None, prompts=1)


def test_a_judge_may_come_later(tmp_path: Path) -> None:
    data, output = published.save(tmp_path / "data", "mm-mt-bench"), tmp_path / "out"
    before = write(data, output, judged=False)
    assert [one.asked.measures for one in questions.read(str(output))] == [("edit_similarity",)] * 2
    assert write(data, output) == before
    assert [one.asked.measures for one in questions.read(str(output))] == [("judge", "edit_similarity")] * 2


def test_other_measures_are_of_the_same_questions_and_other_prompts_are_not(tmp_path: Path) -> None:
    data, output = jsonl(tmp_path, {"question": "Q?", "answers": ["1"]}), tmp_path / "out"
    assert write(data, output) == write(data, output, measures=("exact_match",))
    with pytest.raises(ValueError, match="holds answers to other questions"):
        write(data, output, style="free")


def test_a_question_behind_another_answer_is_another_prompt(tmp_path: Path) -> None:
    data, output = published.save(tmp_path / "data", "mt-bench"), tmp_path / "out"
    before, first = write(data, output), asked(data)
    uris = {}
    for answer in ("It is 2.", "It is 3."):
        questions.write_following(str(output), loading.followed(first, {"111-1": answer}, follow))
        stored = list(questions.read(str(output)))
        assert [one.asked.id for one in stored] == ["81-1", "81-2", "111-1", "111-2"]
        uris[answer] = [one.uri.rpartition("/")[2] for one in stored]
    assert uris["It is 2."][:3] == uris["It is 3."][:3]
    assert uris["It is 2."][3] != uris["It is 3."][3]
    assert uris["It is 2."][0] == "questions.parquet#81-1"
    assert uris["It is 2."][1].startswith("following.parquet#81-2@")
    assert write(data, output) == before  # whatever was answered
