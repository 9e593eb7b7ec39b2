"""The job from the command line to the tables: every expected item is one row, and every count adds up."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pymupdf
import pytest
import ray._private.worker as ray_worker
from PIL import Image

from jobs import extract, report
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import read_table
from tests.jobs.parrot import save_parrot
from tests.pipeline.drawn import corner_image, image_bytes, pdf_bytes
from tests.pipeline.rasterize.test_sandbox import nested_forms

pytestmark = pytest.mark.processes

LONG = 36  # pages: several tasks draw it


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with documents of all kinds, good and bad."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "long").mkdir()
    frames = [corner_image(), corner_image(30, 50)]
    files = {
        "three.pdf": pdf_bytes([(595, 842), (842, 595), (200, 200)]),
        "long/long.pdf": pdf_bytes([(200, 200)] * LONG),
        "one.png": image_bytes(corner_image().convert("RGBA"), "PNG"),
        "one.jpg": image_bytes(corner_image(300, 200), "JPEG"),
        "two.tiff": image_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        "one.webp": image_bytes(corner_image(), "WEBP"),
        "one.bmp": image_bytes(corner_image(), "BMP"),
        "one.gif": image_bytes(corner_image(), "GIF"),
        "broken.pdf": b"%PDF-1.7\nnothing that follows\n",
        "empty.pdf": b"",
        "damaged.png": image_bytes(Image.effect_noise((64, 64), 50), "PNG")[:-2000],
        "notes.txt": b"not a document",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


PAGES = {"three.pdf": 3, "long.pdf": LONG, "two.tiff": 2} | {
    f"one.{suffix}": 1 for suffix in ("png", "jpg", "webp", "bmp", "gif")
}
BROKEN = {"broken.pdf": "open", "empty.pdf": "open", "damaged.png": "rasterize"}


@pytest.fixture(scope="module")
def questions_run(documents: Path, tmp_path_factory: pytest.TempPathFactory, one_cpu_ray: None) -> Path:
    """Two questions to every page, a third to the first and last page of three.pdf only."""
    folder = tmp_path_factory.mktemp("questions")
    questions = [
        {"id": "total", "text": "What is the total?"},
        {"id": "when", "text": "When? [/INST]"},
        {"id": "third", "text": "And here?", "documents": "three.pdf", "pages": [1, 3, 9]},
    ]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    model = save_parrot(folder / "parrot", "Forty-two")
    flags = f"--questions {folder / 'questions.jsonl'} --model {model} --max-new-tokens 9"
    assert extract.main(["--input", str(documents), "--output", str(folder / "out"), *flags.split()]) == 0
    return folder / "out"


def rows(output: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_table(str(output / table)).to_pylist()
    return [row | {"name": row["uri"].rsplit("/", 1)[-1]} for row in found]


def test_every_item_is_answered_or_failed_once(questions_run: Path) -> None:
    answered = [
        (row["name"], row["page_first"], row["question_id"]) for row in rows(questions_run, "answers/text")
    ]
    failed = [(row["name"], row["page_first"], row["question_id"]) for row in rows(questions_run, "failures")]
    pages = [(name, page) for name, count in PAGES.items() for page in range(1, count + 1)]
    expected = [(*page, question) for page in pages for question in ("total", "when")]
    expected += [("three.pdf", 1, "third"), ("three.pdf", 3, "third")]
    assert sorted(answered) == sorted(expected)
    assert {(name, question) for name, _, question in failed} == {
        (name, question) for name in BROKEN for question in ("total", "when")
    }
    assert len(failed) == 6


def test_counts_add_up_to_what_was_expected(questions_run: Path) -> None:
    counts = read_record(str(questions_run))["counts"]
    assert counts == {
        "documents": 11,
        "documents_open": 11,
        "documents_done": 11,
        "complete": 8,
        "partial": 0,
        "failed_documents": 3,
        "pages": sum(PAGES.values()) + 1,
        "expected": 2 * sum(PAGES.values()) + 2 + 6,
        "answered": 2 * sum(PAGES.values()) + 2,
        "failed": 6,
        "shared": 2 * 4,  # of the first frames in PNG, BMP, GIF and TIFF three; and a page of three.pdf
    }


def test_each_document_has_a_row(questions_run: Path) -> None:
    found = {row["name"]: row for row in rows(questions_run, "documents")}
    assert set(found) == {*PAGES, *BROKEN}
    for name, row in found.items():
        assert row["items_answered"] + row["items_failed"] == row["items_expected"], name
        assert row["status"] == ("failed" if name in BROKEN else "complete"), name
    assert {name: found[name]["page_count"] for name in PAGES} == PAGES
    assert found["broken.pdf"]["page_count"] is None
    assert found["one.webp"]["media_type"] == "image/webp"


def test_failures_say_where_and_why(questions_run: Path) -> None:
    for row in rows(questions_run, "failures"):
        assert row["stage"] == BROKEN[row["name"]]
        assert row["reason"]
        assert row["name"] in row["message"]
        assert (row["page_first"] is None) == (row["stage"] == "open")
        assert row["target"] is None


def test_an_answer_knows_where_it_comes_from(questions_run: Path) -> None:
    record = read_record(str(questions_run))
    answers = rows(questions_run, "answers/text")
    assert {row["run_id"] for row in answers} == {record["run_id"]}
    assert {row["settings_key"] for row in answers} == {record["plan"]["settings_key"]}
    assert len({row["item_key"] for row in answers}) == len(answers)
    assert len({row["content_key"] for row in answers}) == len(PAGES)
    for row in answers:
        assert (row["answer"], row["raw_text"]) == ("Forty-two", "Forty-two")
        assert (row["finish_reason"], row["output_tokens"]) == ("stop", 0 if row["shared_from"] else 5)
        assert row["confidence"] == pytest.approx(1)
        assert (row["prompt_tokens"] > row["cached_tokens"]) == (row["shared_from"] is None)
    # The second question of a page continues what the first has computed.
    assert all(row["cached_tokens"] > 0 for row in answers if row["question_id"] == "when")


def test_the_tables_open_in_one_line(questions_run: Path) -> None:
    answers = questions_run / "answers" / "text"
    count = 2 * sum(PAGES.values()) + 2
    assert len(pd.read_parquet(answers)) == count
    assert pq.read_table(answers).num_rows == count
    assert duckdb.execute(f"select count(*) from '{answers}/*.parquet'").fetchall() == [(count,)]


def test_the_record_says_what_ran(questions_run: Path) -> None:
    record = read_record(str(questions_run))
    assert record["tables"] == {"answers": "answers/text", "failures": "failures", "documents": "documents"}
    assert record["plan"]["max_side"] == 128
    assert record["fleet"]["replicas"] == 1
    assert record["versions"]["ray"] == "2.60.0"
    assert all(seconds >= 0 for seconds in record["timings"].values())
    assert [question["id"] for question in record["config"]["questions"]] == ["total", "when", "third"]


def test_a_finished_output_is_done_without_ray(
    questions_run: Path, documents: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobs.run.runner.connected", lambda: pytest.fail("Ray was started"))
    folder = questions_run.parent
    flags = f"--input {documents} --output {questions_run} --questions {folder / 'questions.jsonl'}"
    before = read_record(str(questions_run))["counts"]
    assert extract.main(f"{flags} --model {folder / 'parrot'} --max-new-tokens 9".split()) == 0
    assert "11 documents with 100 items were done before" in capsys.readouterr().out
    assert read_record(str(questions_run))["counts"] == before | {"pages": 0, "shared": 0}


def test_the_report_prints_it(questions_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(questions_run)]) == 0
    printed = capsys.readouterr().out
    assert "three.pdf" in printed
    assert "empty_file" in printed
    assert "11 documents: 8 complete, 0 partial, 3 failed" in printed


SECRET = "correct-horse-battery"


def test_hostile_and_locked_documents_cost_themselves_and_no_password_is_written(
    tmp_path: Path, one_cpu_ray: None, capfd: pytest.CaptureFixture[str]
) -> None:
    documents = tmp_path / "in"
    documents.mkdir()
    (documents / "hangs.pdf").write_bytes(nested_forms(30))
    (documents / "locked.pdf").write_bytes(
        pdf_bytes(encryption=pymupdf.mupdf.PDF_ENCRYPT_AES_256, user_pw=SECRET, owner_pw="o")
    )
    model = save_parrot(tmp_path / "parrot", "Forty-two")
    flags = f"--question Who? --password {SECRET} --page-timeout 1 --pages 1-3 --model {model}"
    output = tmp_path / "out"
    assert extract.main(["--input", str(documents), "--output", str(output), *flags.split()]) == 0
    answered = {(row["name"], row["page_first"]) for row in rows(output, "answers/text")}
    assert answered == {("hangs.pdf", 1), ("hangs.pdf", 3), ("locked.pdf", 1)}
    (failure,) = rows(output, "failures")
    assert (failure["name"], failure["page_first"], failure["reason"]) == ("hangs.pdf", 2, "timeout")
    assert "took more than 1 s (--page-timeout)" in failure["message"]
    statuses = {row["name"]: row["status"] for row in rows(output, "documents")}
    assert statuses == {"hangs.pdf": "partial", "locked.pdf": "complete"}
    record = read_record(str(output))
    assert record["config"]["passwords"] == 1
    printed = capfd.readouterr()
    tables = [rows(output, name) for name in ("answers/text", "failures", "documents")]
    assert SECRET not in f"{record} {printed.out} {printed.err} {tables}"
    node = ray_worker.global_worker.node
    assert node is not None
    logs = Path(node.get_logs_dir_path())
    assert [
        path for path in logs.rglob("*") if path.is_file() and SECRET in path.read_text(errors="replace")
    ] == []


@pytest.fixture(scope="module")
def target_run(tmp_path_factory: pytest.TempPathFactory, one_cpu_ray: None) -> Path:
    """A target, asked of windows of two pages of documents that lie in a Parquet column."""
    folder = tmp_path_factory.mktemp("target")
    model = save_parrot(folder / "parrot", '{"total": 12.50}')
    data = [pdf_bytes([(200, 200)] * 5), pdf_bytes([(200, 200)] * 2), b"no document", None]
    table = pa.table({"name": ["five", "two", "bad", "null"], "data": pa.array(data, pa.binary())})
    pq.write_table(table, folder / "scans.parquet")
    flags = (
        f"--input {folder / 'scans.parquet'} --column data --id-column name --output {folder / 'out'} "
        f"--target tests.jobs.targets:Slip --max-pages 2 --model {model} --batch-size 3"
    )
    assert extract.main(flags.split()) == 0
    return folder / "out"


def test_windows_of_a_document_are_all_answered(target_run: Path) -> None:
    path = read_record(str(target_run))["tables"]["answers"]
    windows = sorted(
        (row["name"][-4:], row["page_first"], row["page_last"]) for row in rows(target_run, path)
    )
    assert windows == [("#two", 1, 2), ("five", 1, 2), ("five", 3, 4), ("five", 5, 5)]
    failures = rows(target_run, "failures")
    assert {(row["reason"], row["target"]) for row in failures} == {
        ("unsupported_type", "tests.jobs.targets:Slip"),
        ("null_value", "tests.jobs.targets:Slip"),
    }
    counts = read_record(str(target_run))["counts"]
    assert (counts["expected"], counts["answered"], counts["failed"]) == (6, 4, 2)


def test_a_document_has_one_merged_answer(target_run: Path) -> None:
    path = read_record(str(target_run))["tables"]["merged"]
    assert path.startswith("merged/Slip-")
    assert sorted(
        (row["name"][-4:], row["page_last"], len(row["item_keys"])) for row in rows(target_run, path)
    ) == [
        ("#two", 2, 1),
        ("five", 5, 3),
    ]


def test_a_targets_answers_are_typed(target_run: Path) -> None:
    path = read_record(str(target_run))["tables"]["answers"]
    assert path.startswith("answers/Slip-")
    table = read_table(str(target_run / path))
    assert table.schema.field("answer").type == pa.struct(
        [pa.field("total", pa.decimal128(12, 2), nullable=False)]
    )
    for row in table.to_pylist():
        assert row["answer"] == {"total": Decimal("12.50")}
        assert row["raw_text"] == '{"total": 12.50}'
        assert [(field["path"], round(field["confidence"], 3)) for field in row["fields"]] == [("total", 1.0)]
        assert row["question_id"] == "Slip"


def test_the_report_scores_a_target(
    target_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"document": "scans.parquet#five", "page": 4, "field": "total", "answers": ["12.5"]},
        {"document": "scans.parquet#two", "page": None, "field": "total", "answers": ["99"]},
        {"document": "scans.parquet#bad", "page": None, "field": "total", "answers": ["12.50"]},
    ]
    (tmp_path / "expected.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert report.main([str(target_run), "--expected", str(tmp_path / "expected.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert "1 of 3 expected answers are right (33%)" in printed
    assert "wrong: 99" in printed
    assert "no answer to scans.parquet#bad: total" in printed
