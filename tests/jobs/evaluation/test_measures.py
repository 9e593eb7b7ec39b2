"""What a measure needs is looked for before the model runs, which may take hours."""

import random
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.evaluation import questions
from jobs.evaluation.measures import JUDGE, MEASURES, score_all
from tests.jobs.evaluation.test_datasets import asked, jsonl

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"total": {"type": "number"}}}
BLOCKS: list[dict[str, Any]] = [
    {"category_type": "text_block", "text": "One, two.", "order": 1},
    {"category_type": "table", "html": "<table><tr><td>1</td></tr></table>", "order": 2},
]
# What each measure needs beside question and answers, and the answers it can do with.
WHOLE: dict[str, dict[str, Any]] = {
    "dude_anls": {"is_list": True, "answers": ["a", "b"]},
    "mmmu": {"options": ["x", "y"], "answers": ["B"]},
    "mathvista": {"form": {"answer_type": "integer"}, "answers": ["7"]},
    "docubench": {"schema": SCHEMA, "answers": [{"total": 1}]},
    "extractbench_unjudged_f1": {"schema": SCHEMA, "answers": [{"total": 1}]},
    "omnidocbench_page_teds": {"blocks": BLOCKS},
    "pass_at_1": {"prompt": "", "test": "def check(f): assert f() == 1\n", "entry_point": "one"},
    "fact": {"fact": {"type": "present", "text": "Total"}},
    "ifeval_prompt_strict": {"instructions": ["punctuation:no_comma"], "arguments": [{}]},
}
RIGHT = {
    "dude_anls": "b, a",
    "mmmu": "(B)",
    "mathvista": "7.0",
    "docubench": '{"total": 1}',
    "extractbench_unjudged_f1": '{"total": 1}',
    "omnidocbench_page_teds": BLOCKS[1]["html"],
    "pass_at_1": "def one():\n    return 1\n",
    "fact": "Total: 1",
    "ifeval_prompt_strict": "None here.",
}
BYTES = {"form": b"\xff", "test": datetime(2024, 5, 1), "options": [b"\x00"], "fact": "W-2"}
NEEDS = [(name, need) for name, measure in MEASURES.items() for need in measure.needs]


def row(measure: str) -> dict[str, Any]:
    """A row of one's own with all that the measure needs."""
    families = {"ifeval": "ifeval_prompt_strict", "extractbench": "extractbench_unjudged_f1"}
    families |= {"omnidocbench": "omnidocbench_page_teds"}
    family = families.get(measure.partition("_")[0], measure)
    return {"question": "Q?", "answers": ["1"], "metric": measure} | WHOLE.get(family, {})


@pytest.mark.parametrize("measure", WHOLE)
def test_a_row_of_ones_own_may_bring_what_a_measure_needs(tmp_path: Path, measure: str) -> None:
    (one,) = asked(jsonl(tmp_path, row(measure)))
    assert list(score_all([(one, RIGHT[measure])])) == [{measure: 1.0}]
    assert list(score_all([(one, "the wrong one, of course")])) == [{measure: 0.0}]


@pytest.mark.parametrize(("measure", "need"), NEEDS)
def test_what_a_row_lacks_is_named_before_the_model_runs(tmp_path: Path, measure: str, need: str) -> None:
    whole = row(measure)
    good = {"question": "Q?", "answers": ["1"]}
    lacking = {name: value for name, value in whole.items() if name != need}
    with pytest.raises(
        ValueError, match=rf"row mine-1 of .*: it has no {need} \(.*the measure {measure} needs"
    ):
        asked(jsonl(tmp_path, good, lacking))
    with pytest.raises(
        ValueError, match=rf"row mine-0 of .*: its {need} is not .*the measure {measure} needs"
    ):
        asked(
            jsonl(tmp_path, whole | {need: 5}) if need != "schema" else jsonl(tmp_path, whole | {need: [1]})
        )


def test_a_column_may_have_the_name_of_what_another_measure_needs(tmp_path: Path) -> None:
    place = tmp_path / "mine.parquet"
    pq.write_table(pa.Table.from_pylist([{"question": "Q?", "answers": ["1"]} | BYTES]), place)
    (one,) = asked(place)
    assert one.facts == {"fact": "W-2"}  # what can be kept
    assert one.slices == {"fact": "W-2"}
    questions.write(str(tmp_path / "out"), [one], name="x", place="x", note=lambda count: None, prompts=1)


@pytest.mark.parametrize("measure", ["field_f1", "value_f1", "leaf_accuracy", "nested_anls", "docubench"])
def test_an_accepted_answer_that_is_no_json_is_found_before_the_model_runs(
    tmp_path: Path, measure: str
) -> None:
    with pytest.raises(ValueError, match=f"row mine-0 .*{measure} cannot score it: .*'12 EUR' is not JSON"):
        asked(jsonl(tmp_path, row(measure) | {"answers": ["12 EUR"]}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (row("teds"), "holds no table"),
        (row("number") | {"tolerance": "little"}, "could not convert"),
        (row("fact") | {"fact": {"type": "smell"}}, "a fact of the type 'smell'"),
        (row("docubench") | {"schema": {"type": "array"}}, "an array at its top"),
        (row("extractbench_f1") | {"schema": {"type": "text"}}, "a part of the type 'text'"),
        (row("omnidocbench_page_teds") | {"blocks": BLOCKS[:1]}, "there is no table on its page"),
        (row("omnidocbench_page_text") | {"blocks": [{"text": "x"}]}, "category_type"),
        (row("ifeval_prompt_loose") | {"instructions": ["be:nice"]}, "'be:nice' is not one of IF-Eval's"),
        (row("mathvista") | {"form": {"unit": "m"}}, "unit"),
    ],
)
def test_what_a_measure_cannot_score_is_found_before_the_model_runs(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"row mine-0 .*: the measure .* cannot score it: .*{message}"):
        asked(jsonl(tmp_path, given))


@pytest.mark.parametrize("measure", [name for name in MEASURES if name != JUDGE])
def test_no_measure_fails_once_its_row_was_taken(tmp_path: Path, measure: str) -> None:
    """Whatever the model writes."""
    tables = {"answers": ["<table><tr><td>1</td></tr></table>"]} if measure.endswith("teds") else {}
    (one,) = asked(jsonl(tmp_path, row(measure) | tables))
    for text in (
        "",
        " ",
        "{}",
        "[[[",
        "null",
        "<table>",
        "|",
        "-",
        "9" * 5_000,
        '{"total": [1]}',
        "\x00",
        "x" * 999,
    ):
        score = MEASURES[measure].score(text, one, random.Random(0))
        assert 0.0 <= score <= 1.0, text
