"""A user's mistake is one clear sentence and exit code 2, before Ray starts or anything is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs import extract
from tests.pipeline.drawn import pdf_bytes

Run = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """What a good command needs: documents, a checkpoint, a place to write."""
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "one.pdf").write_bytes(pdf_bytes())
    shutil.copytree(tiny_checkpoint, tmp_path / "model")
    return tmp_path


@pytest.fixture
def refused(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the job with changed flags (None leaves one out), and returns the one sentence that it prints."""

    def run(**changes: object) -> str:
        flags = {"input": folder / "documents", "output": folder / "out", "model": folder / "model"}
        given = {"question": "What is it?"} | flags | changes
        line = []
        for name, value in given.items():
            values = value if isinstance(value, list) else [value]
            flag = f"--{name.replace('_', '-')}"
            line += [text for item in values if item is not None for text in (flag, str(item))]
        assert extract.main(line) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert not (folder / "out").exists()
        return printed.err

    def connect() -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr("jobs.run.runner.connected", connect)
    return run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": None}, "say what to ask with --question, --questions or --target"),
        ({"questions": "samples/questions.jsonl"}, "with --question or in a file with --questions, not both"),
        ({"target": ["Invoice", "schemas.targets:Invoice"]}, "are both called Invoice"),
        ({"question": None, "target": "Invoice", "style": "free"}, "--style free is about questions"),
        ({"system": " "}, "--system is empty"),
        ({"stop": ""}, "--stop is empty"),
        ({"question": None, "target": "Invoice", "stop": "END"}, "--stop is about questions"),
        ({"temperature": -1}, "--temperature -1: it must be 0 to 5"),
        ({"temperature": "nan"}, "--temperature nan: it must be 0 to 5"),
        ({"temperature": 1, "top_p": 0}, "--top-p 0: it must be above 0"),
        ({"top_p": 0.9}, "nothing is drawn without a --temperature above 0"),
        ({"question": None, "target": ["markdown", "markdown"]}, "are both called markdown"),
        ({"question": None, "target": "markdown", "scope": "document"}, "goes page by page"),
        ({"messages_column": "chat"}, "--messages-column chat holds all that is asked, images too"),
        ({"question": None, "messages_column": "chat"}, "holds no .parquet file"),
        ({"seed": 7}, "nothing is drawn without a --temperature above 0"),
        ({"question": ""}, "needs words"),
        ({"question": ["Same?", "Same?"]}, "leave one out"),
        ({"output": None}, "required: --output"),
        ({"input": None}, "required: --input"),
        ({"scope": "book"}, "invalid choice"),
        ({"max_pages": 0}, "--max-pages 0"),
        ({"max_pages": "two"}, "invalid int value"),
        ({"pages": "3-1"}, "--pages 3-1: give a page or a range"),
        ({"page_timeout": 0}, "--page-timeout 0"),
        ({"document_timeout": 0}, "--document-timeout 0"),
        ({"page_memory": 1}, "--page-memory 1"),
        ({"document_pages": 0}, "--document-pages 0"),
        ({"limit_images": 0}, "--limit-images 0: it must be at least 1"),
        (
            {"scope": "document", "limit_images": 3},
            "a window has up to 4 pages, each of which is an image: lower",
        ),
        ({"password_column": "key"}, "--password-column names a column of Parquet inputs"),
        ({"max_side": 129}, "--max-side 129: for this model it is 16"),
        ({"replicas": 0}, "--replicas 0"),
        ({"max_num_seqs": 0}, "--max-num-seqs 0"),
        ({"max_model_len": 0}, "--max-model-len 0"),
        ({"max_model_len": 128_001}, "--max-model-len 128001: this model can do 128000 at most"),
        ({"max_model_len": 100}, "and the model's context holds 100: ask in fewer words"),
        ({"replicas": "all"}, "'all' is neither a number nor auto"),
        ({"tensor_parallel": 0}, "--tensor-parallel 0"),
        ({"tensor_parallel": 3}, "choose one of 1, 2"),  # the checkpoint has two key and value heads
        ({"dtype": "fp8"}, "FP8 needs widths that are multiples of 16, and this model has hidden_dim 56"),
        ({"colour": "red"}, "unrecognized arguments"),
        ({"id_column": "name"}, "needs --column as well"),
        ({"input": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"input": "/nowhere/*.pdf"}, "/nowhere/*.pdf"),
        ({"input": "/nowhere/\x1b[2J\r\n*.pdf"}, r"input /nowhere/\x1b[2J\r\n*.pdf"),
        ({"input": "ftp://host/file"}, "ftp"),
        ({"input": "s3://key:hunter2@bucket/in"}, "an address holds credentials"),
        ({"output": "s3://key:hunter2@bucket/out"}, "an address holds credentials"),
        ({"question": None, "questions": "/nowhere/questions.txt"}, "/nowhere/questions.txt"),
        ({"question": None, "questions": "/nowhere/questions.csv"}, ".txt"),
        ({"question": None, "target": "Bill"}, "Invoice, Receipt"),
        ({"question": None, "target": "nowhere:Bill"}, "cannot be imported"),
        ({"question": None, "target": "tests.jobs.leaves:Bill"}, "leaves.py, line 5: SystemExit: no licence"),
        ({"question": None, "target": "tests.jobs.targets:Bill"}, "has no 'Bill'"),
        ({"question": None, "target": "tests.jobs.targets:Money"}, "not a pydantic model"),
        ({"question": None, "target": "tests.jobs.targets:Pair"}, "field 'both'"),
        ({"question": None, "target": "tests.jobs.targets:Endless"}, "field 'share' has the type"),
        ({"question": None, "target": "tests.jobs.targets:Word"}, "field 'word' has the pattern"),
        ({"question": None, "target": "/nowhere/bill.json"}, "/nowhere/bill.json cannot be read"),
        ({"model": "/nowhere/model"}, "/nowhere/model holds no checkpoint"),
        ({"model": "models/nano"}, "there is no such folder here, and the hub cannot be reached"),
    ],
)
def test_a_wrong_flag(refused: Run, changes: dict[str, object], message: str) -> None:
    printed = refused(**changes)
    assert message in printed
    assert "hunter2" not in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "bill.json is nested deeper than 200 levels"),
        (
            '{"properties": {"a": {"type": ["string", "integer"]}}}',
            "bill.json#/properties/a: no column holds",
        ),
        ('{"properties": {"a": {"pattern": "a^b"}}}', "field 'a' has the pattern 'a^b'"),
    ],
    ids=["deep", "union", "pattern"],
)
def test_a_schema_that_cannot_be_a_target(refused: Run, folder: Path, text: str, message: str) -> None:
    (folder / "bill.json").write_text(text)
    printed = refused(question=None, target=folder / "bill.json")
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("asked", ["question", "system", "target"])
def test_what_cannot_fit_into_the_context(refused: Run, folder: Path, asked: str) -> None:
    words = "Is it this? " * 40_000
    schema = {"title": "Bill", "properties": {"a": {"type": "string", "description": words}}}
    (folder / "bill.json").write_text(json.dumps(schema))
    changes: dict[str, dict[str, object]] = {
        "question": {"question": None, "questions": folder / "long.txt"},
        "system": {"system": words},
        "target": {"question": None, "target": folder / "bill.json"},
    }
    (folder / "long.txt").write_text(f"Is it short?\n{words}\n")
    names = {"question": "the question 'Is it this? Is", "system": "the question 'What is it?'"}
    printed = refused(**changes[asked])
    assert names.get(asked, "--target Bill-") in printed
    assert "tokens without a page" in printed
    assert "context holds 128,000" in printed
    assert len(printed) < 400


def test_a_deep_line_of_questions(refused: Run, folder: Path) -> None:
    (folder / "questions.jsonl").write_text("[" * 100_000)
    assert "line 1 is nested deeper" in refused(question=None, questions=folder / "questions.jsonl")


def test_an_empty_folder(refused: Run, folder: Path) -> None:
    (folder / "nothing").mkdir()
    assert "no PDF and no image" in refused(input=folder / "nothing")


def test_parquet_without_its_column(refused: Run, folder: Path) -> None:
    pq.write_table(pa.table({"data": [b"x"], "more": [b"y"]}), folder / "scans.parquet")
    assert "--column" in refused(input=folder / "scans.parquet")
    assert "scan" in refused(input=folder / "scans.parquet", column="scan")


def test_a_checkpoint_without_a_tokenizer(refused: Run, folder: Path) -> None:
    (folder / "model" / "tekken.json").unlink()
    assert "tekken.json" in refused()


def test_a_tokenizer_that_is_none(refused: Run, folder: Path) -> None:
    (folder / "model" / "tekken.json").write_text("{}")
    assert "tekken.json" in refused()


def test_a_config_that_is_none(refused: Run, folder: Path) -> None:
    (folder / "model" / "params.json").write_text('{"dim": 48}')
    assert "params.json" in refused()


def test_tensors_that_do_not_fit(refused: Run, folder: Path) -> None:
    path = folder / "model" / "consolidated.safetensors"
    tensors = load_file(path)
    del tensors["norm.weight"]
    save_file(tensors | {"output.weight": torch.ones(3, 3)}, path)
    printed = refused()
    assert "missing: norm.weight" in printed
    assert "shape of output.weight" in printed


def test_weights_that_are_cut_off(refused: Run, folder: Path) -> None:
    path = folder / "model" / "consolidated.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert "consolidated.safetensors" in refused()


def test_an_output_that_cannot_be_written(refused: Run, folder: Path) -> None:
    (folder / "file").write_text("in the way")
    assert str(folder / "file") in refused(output=folder / "file" / "out")


@pytest.mark.processes  # it waits: seconds, in which the client tries again
def test_an_output_on_an_s3_that_is_not_there(refused: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert "S3 cannot be reached at http://127.0.0.1:1" in refused(output="s3://bucket/out")


def test_an_output_whose_bucket_has_no_region(refused: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoNetwork:
        @staticmethod
        def from_uri(uri: str) -> None:
            raise OSError(f"When resolving region for {uri}: AWS Error NETWORK_CONNECTION during HeadBucket")

    monkeypatch.setattr("pipeline.commit.manifest.pafs.FileSystem", NoNetwork)
    assert "s3://bucket/out: S3 cannot be reached" in refused(output="s3://bucket/out")
