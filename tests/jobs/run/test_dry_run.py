"""What a run would cost, in words; and the speeds behind it are those that the documentation has."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from jobs import extract
from jobs.run.dry_run import gpu_seconds, lines_of
from jobs.run.speeds import MEASURED, SPEEDUP, WORK, speed_of
from pipeline.estimate import Amount, Estimate
from tests.pipeline.drawn import pdf_bytes

PERFORMANCE = (Path(__file__).parents[3] / "docs" / "performance.md").read_text()


@pytest.mark.parametrize("precision", MEASURED)
def test_the_two_speeds_give_the_measured_workloads(precision: str) -> None:
    speed = speed_of(precision)
    assert 0 < speed.prompt < speed.answer
    for name, pages in MEASURED[precision].items():
        assert 1 / speed.seconds(*WORK[name]) == pytest.approx(pages, rel=0.1), name


def test_the_measured_speeds_stand_in_the_documentation() -> None:
    table = re.search(r"^## H200, the newest.*?(?=^## )", PERFORMANCE, re.MULTILINE | re.DOTALL)
    assert table
    for name, questions in (("W1", 1), ("W2", 8), ("W3", 1), ("W4", 1)):
        (row,) = re.findall(rf"^\| {name} \|(.*)$", table[0], re.MULTILINE)
        cells = [cell.strip() for cell in row.split("|")]
        assert float(cells[0]) == pytest.approx(MEASURED["bfloat16"][name] * questions)
        assert float(cells[3]) == pytest.approx(MEASURED["fp8"][name] * questions)
    assert f"`--tensor-parallel 2` {SPEEDUP[2]}x, `--tensor-parallel 4` {SPEEDUP[4]}x" in table[0]


FOUND = Estimate(
    listed=1000,
    left=900,
    sampled=64,
    drawn=120,
    pages=Amount(total=36_000, margin=3_600),
    items=Amount(total=36_000, margin=3_600),
    prompt_tokens=Amount(total=116_000_000, margin=11_600_000),
    answer_tokens=Amount(total=576_000, margin=57_600),
    answers_known=True,
    failing=1,
    draw_seconds=360.0,
)


def config(**changes: object) -> SimpleNamespace:
    return SimpleNamespace(**{"dtype": "auto", "tensor_parallel": 1} | changes)


def test_hours_follow_from_a_speed_or_from_what_was_measured() -> None:
    seconds, how = gpu_seconds(config(), FOUND, 10.0, False)  # type: ignore[arg-type] # of it, two fields are read
    assert seconds == Amount(total=3600, margin=360)
    assert lines_of(FOUND, seconds, how, 2.5) == [
        "documents      900 of 1,000 are left to do",
        "sample         64 documents, 120 pages drawn; of 1 nothing can be drawn",
        "pages          36,000 ± 3,600 (95%)",
        "items          36,000 ± 3,600 (95%)",
        "prompt tokens  116,000,000 ± 11,600,000 (95%)",
        "answer tokens  576,000 ± 57,600 (95%), as long as the answers so far",
        "CPU-hours      0.10 to open and draw",
        "GPU-hours      1.00 ± 0.10 (95%), by 10 pages a second and GPU; loading the model comes on top",
        "cost           2.50 ± 0.25 (95%), at 2.5 a GPU-hour",
    ]
    measured, _ = gpu_seconds(config(), FOUND, None, True)  # type: ignore[arg-type] # of it, two fields are read
    assert measured is not None
    assert measured.total == pytest.approx(36_000 / 8.18, rel=0.1)  # W1's pages
    two, _ = gpu_seconds(config(tensor_parallel=2), FOUND, None, True)  # type: ignore[arg-type] # as above
    assert two is not None
    assert two.total == pytest.approx(measured.total * 2 / 1.79)
    nobody, how = gpu_seconds(config(), FOUND, None, False)  # type: ignore[arg-type] # as above
    assert nobody is None
    assert lines_of(FOUND, nobody, how, 2.5)[-1].endswith("with these settings: give --pages-per-second")


def test_a_dry_run_starts_nothing(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.pdf").write_bytes(pdf_bytes([(100, 100)] * 3))
    flags = (
        f"--input {tmp_path / 'in'} --output {tmp_path / 'out'} --model {tiny_checkpoint} --question What?"
    )
    assert extract.main([*flags.split(), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "pages          3\n" in printed
    assert "GPU-hours      nobody has measured this model" in printed
    assert extract.main([*flags.split(), "--dry-run", "--pages-per-second", "0.001"]) == 0
    assert "GPU-hours      0.83, by 0.001 pages a second" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--price-per-gpu-hour 3", "--price-per-gpu-hour is about --dry-run: add it"),
        ("--pages-per-second 3", "--pages-per-second is about --dry-run: add it"),
        ("--dry-run --pages-per-second 0", "--pages-per-second 0: it must be above 0"),
        ("--dry-run --price-per-gpu-hour nan", "--price-per-gpu-hour nan: it must be above 0"),
    ],
)
def test_flags_that_mean_nothing_are_refused(
    flags: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract.main(["--input", "in", "--output", "out", *flags.split()]) == 2
    assert sentence in capsys.readouterr().err
