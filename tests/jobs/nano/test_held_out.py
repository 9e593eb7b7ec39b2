"""The held-out pages are a data set that jobs.evaluate takes."""

import json
from pathlib import Path

import pytest

from jobs.evaluation import loading
from jobs.evaluation.datasets.finding import find
from jobs.nano import held_out
from jobs.nano.synthetic.scenes import KINDS


def test_held_out_pages_are_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held_out.main([str(tmp_path / "a"), "--pages", "1"])
    rows = [json.loads(line) for line in (tmp_path / "a" / "questions.jsonl").read_text().splitlines()]
    assert capsys.readouterr().out == f"{tmp_path}/a/questions.jsonl: {len(rows)} questions\n"
    assert {row["kind"] for row in rows} == set(KINDS)
    assert not any("single word or phrase" in row["question"] for row in rows)
    found = find(str(tmp_path / "a"))
    asked = list(loading.questions(found, style="short", measures=("anls",), limit=3))
    assert [one.measures for one in asked] == [("strict_match",)] * 3
    assert held_out.write(tmp_path, 1) == len(rows)
    assert (tmp_path / "questions.jsonl").read_text() == (tmp_path / "a" / "questions.jsonl").read_text()


def test_a_folder_without_faces_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        held_out.main([str(tmp_path), "--fonts", "docs"])
    assert "docs/held-out holds no fonts: it should have folders" in capsys.readouterr().err
