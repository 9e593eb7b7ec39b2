"""The benchmark measures what it says, and its last line is JSON."""

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs import benchmark, extract
from jobs.bench import documents as bench_documents
from jobs.bench import job as bench_job
from jobs.bench import keys, shapes
from jobs.bench import memory as bench_memory
from jobs.bench.job import write_checkpoint_apart
from jobs.bench.memory import MEASURES
from jobs.bench.models import PIXTRAL_12B
from jobs.bench.page import Timing
from jobs.bench.process_memory import Footprint
from jobs.bench.workloads import WORKLOADS, operations_of
from jobs.run.config_of_flags import config_of
from model.checkpoint import save_model
from model.checkpoint_files import check_checkpoint
from pipeline.plan.limits import MIB
from tests.jobs.parrot import save_parrot
from tests.model.tiny import CONFIG, tiny_pixtral
from tests.pipeline.drawn import corner_image, image_bytes, pdf_bytes
from tests.pipeline.local import Machine


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_model(tiny_pixtral(vocab_size=3048), tmp_path)
    shutil.copy("model/nano/tekken.json", tmp_path)
    return tmp_path


def test_engines_are_timed_beside_one_another_and_answer_alike(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["page", "--model", str(checkpoint), "--max-side", "64", "--repeats", "1"]
    arguments += ["--tokens", "3", "--dtype", "float32", "--questions", "1", "9"]
    assert benchmark.main(arguments) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [(row["engine"], row["questions"], len(row["answers"])) for row in rows] == [
        (engine, count, count) for count in (1, 9) for engine in ("naive", "batch", "transformers")
    ]
    assert all(row["answers_changed"] == 0 for row in rows)
    assert all(row["median_seconds"] >= row["best_seconds"] > 0 for row in rows)
    assert [row["times_transformers"] for row in rows[2::3]] == [1.0, 1.0]


def test_rasterizers_are_compared_on_the_pdfs_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "two.pdf").write_bytes(pdf_bytes([(100, 200)] * 2))
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    (tmp_path / "image.png").write_bytes(image_bytes(corner_image(), "PNG"))
    arguments = ["pages", "--folder", str(tmp_path), "--repeats", "2", "--max-side", "64"]
    cores = os.sched_getaffinity(0)
    threads = torch.get_num_threads()
    assert benchmark.main(arguments) == 0
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(threads)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["benchmark"], line["documents"], line["pages"]) == ("pages", 1, 2)
    assert [row["contender"] for row in line["rows"]] == [
        "PyMuPDF, plain",
        "Quire's sandbox",
        "pypdfium2",
        "pypdfium2 + mistral_common",
        "Quire to the model's pixels",
    ]
    assert all(row["pages_per_second"] > 0 for row in line["rows"])
    assert [row["times_as_fast"] is None for row in line["rows"]] == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--folder", "model/nano"], "files is a PDF that all of them can draw"),
        (["--repeats", "0"], "--repeats 0: it must be at least 1"),
        (["--folder", "no/such/folder"], "none of the 0 files"),
    ],
)
def test_a_folder_without_pdfs_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cores = os.sched_getaffinity(0)
    assert benchmark.main(["pages", *arguments]) == 2
    os.sched_setaffinity(0, cores)
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "package", "extra"), [("pages", "pypdfium2", "test"), ("reading", "reportlab", "train")]
)
def test_a_package_that_only_an_extra_brings_is_named(
    command: str,
    package: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in list(sys.modules):
        if module.startswith(("jobs.bench.rasterizers", "jobs.nano.synthetic", f"{package}.")):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    assert benchmark.main([command]) == 2
    said = capsys.readouterr().err
    assert f"{package} is not installed" in said or f"{package}.lib is not installed" in said
    assert f"pip install '.[{extra}]'" in said


def test_changed_answers_are_counted() -> None:
    first = Timing(engine="naive", dtype="float32", questions=2, seconds=[1.0], answers=["a", "b"])
    other = Timing(engine="batch", dtype="bfloat16", questions=2, seconds=[1.0], answers=["a", "c"])
    assert other.row([first, other])["answers_changed"] == 1
    assert other.row([first, other])["times_transformers"] is None


@pytest.mark.parametrize("command", ["engine", "page"])
def test_a_missing_model_is_one_sentence(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main([command, "--model", "no/such/folder"]) == 2
    assert "no/such/folder" in capsys.readouterr().err


def test_a_workload_is_run_and_its_operations_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(WORKLOADS, "W2", replace(WORKLOADS["W2"], width=256, height=256))
    assert benchmark.main(["engine", "--work", "W2", "--share", "0.001", "--dtype", "float32"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    (row,) = line["rows"]
    assert (line["benchmark"], line["share"], row["workload"]) == ("engine", 0.001, "W2")
    assert row["questions_per_second"] == pytest.approx(8 * row["pages_per_second"], rel=0.1)
    assert 0 < row["tflops"] < 10


def test_a_page_of_pixtral_12b_is_78_tflop() -> None:
    """77.7 by a count of its own: 70.3 of products, 3.4 of attention, 3.5 of the encoder, and the logits."""
    work = replace(WORKLOADS["W1"], pages=1, tokens=1)
    assert operations_of(work, PIXTRAL_12B, 3222) / 1e12 == pytest.approx(77.7, rel=0.01)
    more = replace(work, questions=8)
    shared = operations_of(more, PIXTRAL_12B, 3222) - operations_of(work, PIXTRAL_12B, 3222)
    assert shared / 1e12 == pytest.approx(7 * 20 * (21.8e9 + 2.1e9) / 1e12, rel=0.01)  # not the page


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["engine", "--share", "0"], "--share 0.0: it must be above 0"),
        (["engine", "--profile"], "there is no GPU"),
        (["engine", "--fp8"], "FP8 needs a GPU's kernels"),
        (["precision"], "FP8 needs a GPU"),
        (["engine", "--step-tokens", "0"], "--step-tokens 0: it must be at least 1"),
        (["engine", "--cache-tokens", "0"], "cache_tokens is 0: it must be at least 1"),
        (
            ["engine", "--work", "W1", "--share", "0.001", "--cache-tokens", "640"],
            "1 of 1 questions could not be asked: ValueError: prompt and answer may need",
        ),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do it")
def test_what_cannot_be_measured_here_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_reading_scores_every_kind(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A random model reads nothing, but is asked about every kind of document."""
    monkeypatch.setattr("jobs.bench.reading.TOKENS", 20)
    assert benchmark.main(["reading", "--model", str(checkpoint), "--pages", "1", "--max-side", "64"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = found["rows"]
    for row in found["transcribed"]:
        assert 0 < row["characters"] * 0.8 < row["errors"]
    assert len(found["transcribed"]) >= 7
    assert {row["kind"] for row in rows} >= {
        "lines",
        "form",
        "table",
        "chart",
        "invoice",
        "receipt",
        "report",
    }
    assert all(0 == row["right"] < row["asked"] for row in rows)


def test_a_shape_without_memory_for_it_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobs.bench.models.free_memory", lambda device: 3 << 30)
    assert benchmark.main(["engine", "--shape", "pixtral-12b", "--dtype", "bfloat16"]) == 2
    assert "the weights need 23 GiB and 3 GiB are free" in capsys.readouterr().err


def test_the_price_of_keys_has_a_row_for_each_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int]] = []

    def measure(part: str, folder: str, documents: int, environment: dict[str, str]) -> dict[str, float]:
        assert bool(environment) == (part == "list_objects")
        asked.append((part, documents))
        return {"seconds": len(asked) / 10, "peak_MiB": 60.0}

    monkeypatch.setattr(keys, "measure", measure)
    monkeypatch.setattr(keys, "COMMITTED", 50)
    assert benchmark.main(["keys", "--documents", "200"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row["part"] for row in rows] == [title for title in keys.PARTS.values() if title]
    assert asked == [(part, 50 if part == "commit" else 200) for part in keys.PARTS]
    assert {row["documents"] for row in rows} == {200, 50}
    assert (rows[0]["ms_a_document"], rows[0]["peak_MiB"]) == (0.5, 60.0)


@pytest.mark.soak
def test_the_price_of_keys_counts_every_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["keys", "--documents", "200"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row["part"] for row in rows] == [title for title in keys.PARTS.values() if title]
    assert {row["documents"] for row in rows} == {200}
    assert all(row["ms_a_document"] > 0 and row["peak_MiB"] > 50 for row in rows)


@pytest.mark.soak
@pytest.mark.processes
def test_the_job_is_compared_with_the_engine_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["job", "--share", "0.004"]) == 0
    engine, job = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert (engine["what"], job["what"]) == ("engine", "job")
    assert job["of_the_engine"] == pytest.approx(job["pages_per_second"] / engine["pages_per_second"], 0.01)
    assert 0 < job["computing_seconds"] + job["waiting_seconds"] < job["run_seconds"]


def test_the_jobs_row_is_that_of_its_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands stand in for themselves: a line of the engine, and a run without Ray."""
    said = {"pages_per_second": 4.0, "seconds": 2.0, "gpu_waited": None}

    def output_of(command: list[str]) -> str:
        if command[0] == "jobs.benchmark":
            return f"a table\n{json.dumps({'rows': [said]})}\n"
        config = config_of(extract.make_parser().parse_args(command[1:]))
        machine = Machine(Path(config.model), config.output, monkeypatch)
        record = machine.run(config.inputs[0], max_side=64, questions=config.questions)
        assert record["counts"]["answered"] == 5
        return ""

    monkeypatch.setattr(bench_job, "_output_of", output_of)
    engine, job = bench_job.compare(save_parrot(tmp_path / "parrot", "Red"), 0.02, tmp_path)
    assert (engine["pages_per_second"], engine["computing_seconds"]) == (4.0, 2.0)
    assert job["of_the_engine"] == pytest.approx(job["pages_per_second"] / 4, abs=0.001)
    assert job["pages_per_second"] == pytest.approx(
        5 / (job["computing_seconds"] + job["waiting_seconds"]), rel=0.1
    )
    assert 0 < job["computing_seconds"] < job["run_seconds"]


def test_a_checkpoint_of_a_shape_has_the_tokenizers_vocabulary(tmp_path: Path) -> None:
    write_checkpoint_apart(CONFIG, Path("model/nano/tekken.json"), tmp_path / "model")
    assert check_checkpoint(tmp_path / "model") == replace(CONFIG, vocab_size=3048)


@pytest.mark.soak
@pytest.mark.processes
def test_the_memory_of_runs_is_told_by_kind_of_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["memory", "--pages", "12", "20"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(row["pages"], row["documents"]) for row in line["rows"]] == [(12, 5), (20, 6)]
    for row in line["rows"]:
        assert row["end"].keys() == row["peak"].keys() == set(MEASURES)
        assert row["peak"]["all"] > row["peak"]["driver"] + row["peak"]["replica"] > 100
        assert row["peak"]["spilled"] == 0
        assert row["curve"][-1]["all"] == row["end"]["all"]


def test_memory_is_told_at_each_tenth_of_a_run() -> None:
    samples = [
        bench_memory.Sample(
            seconds=10.0 * number,
            told=bench_memory.Progress(pages=number, store=number * MIB, objects=number, spilled=0),
            seen=Footprint(own=Counter(driver=(30 - number) * MIB, replica=2 * MIB), everything=50 * MIB),
            logs=MIB,
        )
        for number in range(1, 21)
    ]
    row = bench_memory._row(20, 6, samples)
    assert (row["pages"], row["documents"], row["pages_per_second"], row["seconds"]) == (20, 6, 0.1, 200.0)
    assert row["end"].keys() == row["peak"].keys() == set(MEASURES)
    assert [tenth["of_run"] for tenth in row["curve"]] == [f"{10 * part}%" for part in range(1, 11)]
    assert (row["peak"]["driver"], row["end"]["driver"]) == (29.0, 11.0)
    assert (row["peak"]["store"], row["end"]["store"], row["peak"]["all"]) == (20.0, 19.0, 50.0)


def test_the_time_of_documents_is_told_beside_that_of_another_checkout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[Path] = []

    def measure(root: Path, documents: Path, output: Path, max_side: int) -> dict[str, float]:
        assert len(list(documents.rglob("*.pdf"))) == 5
        measured.append(output)
        seconds = dict.fromkeys((*bench_documents.STAGES, "driver", "computed"), float(len(measured)))
        return seconds | {"driver": 0.1}

    monkeypatch.setattr(bench_documents, "measure", measure)
    assert benchmark.main(["documents", "--documents", "5", "--rounds", "3", "--against", "."]) == 0
    other, this = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [path.name for path in measured] == [
        f"{one}-{turn}" for turn in range(3) for one in ("other", "this")
    ]
    assert (other["checkout"], this["checkout"]) == ("other", "this")
    assert (other["run_seconds"], this["run_seconds"]) == (3.0, 4.0)  # medians of 1, 3, 5 and of 2, 4, 6
    assert (other["documents_per_second"], this["documents_per_second"]) == (1.7, 1.2)
    assert this["times_other"] == pytest.approx(1.2 / 1.7, abs=0.01)
    assert this["computed_ms_a_document"] == 800.0
    assert this["driver_ms_a_document"] == pytest.approx(20.0)


@pytest.mark.soak
@pytest.mark.processes
def test_documents_a_second_are_compared_with_another_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--documents", "5", "--max-side", "64", "--against", "."]
    assert benchmark.main(["documents", *flags]) == 0
    other, this = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert (other["checkout"], this["checkout"]) == ("other", "this")
    assert this["times_other"] == pytest.approx(
        this["documents_per_second"] / other["documents_per_second"], abs=0.01
    )
    for row in (other, this):
        assert row["documents_per_second"] == pytest.approx(5 / row["run_seconds"], rel=0.1)
        assert 0 < row["open_seconds"] < row["run_seconds"]
        assert 0 < row["rasterize_seconds"] < row["run_seconds"]
        assert row["computed_seconds"] > row["driver_seconds"] > 0
        assert row["driver_ms_a_document"] == pytest.approx(200 * row["driver_seconds"], rel=0.02)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--documents", "0"], "--documents 0: it must be at least 1"),
        (["--rounds", "0"], "--rounds 0: it must be at least 1"),
        (["--against", "tests"], "--against tests: it holds no checkout of Quire (no pipeline/flow.py)"),
    ],
)
def test_a_mistake_in_the_runs_over_documents_is_one_sentence(
    flags: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(["documents", *flags]) == 2
    assert sentence in capsys.readouterr().err


def test_a_run_over_no_page_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["memory", "--pages", "10", "0"]) == 2
    assert "--pages 0: it must be at least 1" in capsys.readouterr().err


def test_the_memory_over_shapes_is_compared_with_that_over_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(model: Path, pages: Sequence[shapes.Shape], bound: int, *_: Any) -> dict[str, Any]:
        assert len(pages) == 3
        return {"mib": 100 + (bound if len(set(pages)) == 3 else 0)}

    monkeypatch.setattr(shapes, "measure", measure)
    flags = ["--pages", "3", "--dtype", "float32", "--primitives", "10", "100"]
    assert benchmark.main(["shapes", *flags]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [(row["primitives"], row["shapes"], row["mib"], row["times_one_shape"]) for row in rows] == [
        (10, "one", 100, 1.0),
        (10, "many", 110, 1.1),
        (100, "one", 100, 1.0),
        (100, "many", 200, 2.0),
    ]
    assert benchmark.main(["shapes", "--pages", "0"]) == 2
    assert "--pages 0: it must be 1 to 2401" in capsys.readouterr().err


@pytest.mark.soak
def test_the_memory_over_shapes_is_told_for_each_bound(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--pages", "2", "--tokens", "1", "--dtype", "float32", "--primitives", "16"]
    assert benchmark.main(["shapes", *flags]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [(row["primitives"], row["shapes"]) for row in rows] == [(16, "one"), (16, "many")]
    assert all(row["mib"] > 100 for row in rows)
    assert rows[0]["times_one_shape"] == 1


@pytest.mark.processes
def test_clients_of_the_server_are_timed_beside_its_engine(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["serve", "--model", str(checkpoint), "--clients", "1", "3", "--requests", "4"]
    assert benchmark.main([*arguments, "--tokens", "3", "--side", "64"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row["who"] for row in rows] == ["engine alone", "1 clients", "3 clients"]
    assert all(row["requests_per_second"] > 0 for row in rows)
    assert rows[0]["of_the_engine"] == 1
    assert rows[0]["first_token_ms"] is None
    assert all(0 < row["first_token_ms"] <= row["first_token_ms_95th"] for row in rows[1:])
