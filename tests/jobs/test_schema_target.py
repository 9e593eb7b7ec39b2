"""A target from a file with a JSON schema: from the command line to the tables, and without the file."""

import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from jobs import extract, report, retry
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import read_table
from tests.jobs.parrot import save_parrot
from tests.pipeline.drawn import pdf_bytes

pytestmark = pytest.mark.processes

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Slip no. 1",
    "type": "object",
    "properties": {"total": {"$ref": "#/$defs/money"}},
    "required": ["total"],
    "$defs": {"money": {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 99999}},
}


def test_a_run_a_retry_and_a_report_of_a_schema_s_target(
    tmp_path: Path, one_cpu_ray: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "slip.pdf").write_bytes(pdf_bytes([(200, 200)] * 5))
    (tmp_path / "in" / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    (tmp_path / "slip.json").write_text(json.dumps(SCHEMA))
    model = save_parrot(tmp_path / "parrot", '{"total": 12.50}')
    monkeypatch.chdir(tmp_path)
    assert extract.main(f"--input in --output out --target slip.json --model {model}".split()) == 0
    tables = read_record("out")["tables"]
    name = tables["answers"].removeprefix("answers/")
    assert name[:-12] == "Slip_no_1-"
    assert name in capsys.readouterr().err
    answers = read_table(f"out/{tables['answers']}")
    struct = pa.struct([pa.field("total", pa.decimal128(7, 2), nullable=False)])
    assert answers.schema.field("answer").type == struct
    assert [(row["page_first"], row["answer"], row["question"]) for row in answers.to_pylist()] == [
        (1, {"total": Decimal("12.50")}, name),
        (5, {"total": Decimal("12.50")}, name),
    ]
    (failure,) = read_table("out/failures").to_pylist()
    assert (failure["target"], failure["question_id"]) == (name, "Slip_no_1")

    (tmp_path / "slip.json").rename(tmp_path / "elsewhere.json")
    (tmp_path / "in" / "broken.pdf").write_bytes(b"%PDF-1.7 broken in another way")
    assert retry.main(["out"]) == 0
    again = f"--input in --output out --target elsewhere.json --model {model}"
    assert extract.main(again.split()) == 0  # the same target, wherever its file is
    assert read_record("out")["tables"] == tables
    assert read_table(f"out/{tables['answers']}").equals(answers)
    capsys.readouterr()
    assert report.main(["out"]) == 0
    printed = capsys.readouterr().out
    assert "total" in printed
    assert "12.50" in printed
