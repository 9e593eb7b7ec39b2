"""A run that differs is said to drift; one that is like the others never is."""

from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import BaseModel

from jobs import extract, report
from jobs.quality.drift import Comparison, compare, drifts_of, fisher, mann_whitney
from jobs.quality.measures import Measure, read_measures, sources_of
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import create_tables
from schemas.arrow import to_table
from schemas.rows import answer_row
from tests.jobs.parrot import save_parrot
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.local import Machine
from tests.pipeline.stored import answer, show


class Letter(BaseModel):
    """A target with a field that a page may lack."""

    sender: str
    date: str | None = None


Values = NDArray[np.floating[Any]]
zeros_and_ones = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60)
shares = st.lists(st.floats(0, 1), min_size=1, max_size=60)


def compared(kind: Any, before: list[Values], now: Values) -> Comparison:
    runs = {f"2026010{number}T": values for number, values in enumerate(before)} | {"20260109T": now}
    (found,) = compare([Measure(kind=kind, of="x", runs=runs)], "20260109T")
    return found


@given(zeros_and_ones, st.integers(1, 4))
def test_equal_rates_never_drift(values: list[float], times: int) -> None:
    one = np.array(values)
    assert not compared("nulls", [one] * times, one).drifts
    assert fisher(one, np.tile(one, times)) == pytest.approx(1)


@given(shares, st.integers(1, 4))
def test_equal_confidences_never_drift(values: list[float], times: int) -> None:
    one = np.array(values)
    assert not compared("confidence", [one] * times, one).drifts
    assert mann_whitney(one, np.tile(one, times)) == 1.0


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 60), st.integers(1, 200))
def test_runs_of_the_same_documents_do_not_drift(seed: int, rate: float, now: int, before: int) -> None:
    """Equal but for chance: a false alarm comes once in ten thousand runs at most."""
    random = np.random.default_rng(seed)
    rates = compared("failures", [(random.random(before) < rate) * 1.0], (random.random(now) < rate) * 1.0)
    shape = 1 + 9 * rate
    sure = compared("confidence", [random.beta(shape, 1, before)], random.beta(shape, 1, now))
    assert not rates.drifts
    assert not sure.drifts


@pytest.mark.parametrize(
    ("ones", "size", "ones_before", "size_before"),
    [(3, 10, 2, 30), (0, 10, 5, 8), (7, 9, 0, 40), (2, 5, 4, 10)],
)
def test_fisher_s_test_is_twice_the_tail(ones: int, size: int, ones_before: int, size_before: int) -> None:
    marked, whole = ones + ones_before, size + size_before
    chance = {
        k: comb(marked, k) * comb(whole - marked, size - k) / comb(whole, size)
        for k in range(min(size, marked) + 1)
    }
    low = sum(p for k, p in chance.items() if k <= ones)
    high = sum(p for k, p in chance.items() if k >= ones)

    def values(ones: int, size: int) -> Values:
        return np.array([1.0] * ones + [0.0] * (size - ones))

    assert fisher(values(ones, size), values(ones_before, size_before)) == pytest.approx(
        min(1, 2 * min(low, high))
    )


def test_the_rank_test_is_that_of_the_books() -> None:
    # U = 3 of 25, without ties: mean 12.5, deviation sqrt(25 * 11 / 12), z = (9.5 - 0.5) / 4.787
    found = mann_whitney(np.array([1.0, 2, 3, 5, 7]), np.array([4.0, 6, 8, 9, 10]))
    assert found == pytest.approx(0.0601, abs=1e-4)
    assert mann_whitney(np.ones(30), np.ones(30)) == 1


@pytest.mark.parametrize(
    ("before", "now", "sizes", "drifts"),
    [
        (0.02, 0.40, (300, 40), True),
        (0.02, 0.06, (30_000, 3_000), False),  # sure, and small
        (0.02, 0.40, (300, 19), False),  # too few
        (0.90, 0.50, (300, 60), True),
    ],
)
def test_a_rate_drifts_where_the_difference_is_sure_and_large(
    before: float, now: float, sizes: tuple[int, int], drifts: bool
) -> None:
    def values(rate: float, size: int) -> Values:
        return (np.arange(size) < round(rate * size)) * 1.0

    found = compared("nulls", [values(before, sizes[0])], values(now, sizes[1]))
    assert found.drifts is drifts
    assert (found.p is None) == (sizes[1] < 20)
    assert bool(drifts_of([found])) is drifts
    if drifts:
        assert drifts_of([found])[0].startswith(
            f"nulls in x: {found.now:.1%} of {sizes[1]} documents, after "
        )


def test_only_the_last_runs_count() -> None:
    good, bad = np.zeros(50), np.ones(50)
    assert not compared("failures", [good, *[bad] * 7], bad).drifts
    assert compared("failures", [bad, *[good] * 7], bad).drifts


def test_many_comparisons_want_more_certainty() -> None:
    before, now = np.zeros(200), (np.arange(30) < 6) * 1.0
    assert compared("failures", [before], now).drifts
    measures = [Measure(kind="failures", of=str(n), runs={"1": before, "2": before}) for n in range(99)]
    found = compare([*measures, Measure(kind="failures", of="x", runs={"1": before, "2": now})], "2")
    assert found[-1].p is not None
    assert found[-1].drifts is (found[-1].p * 100 < 1e-4)


@pytest.mark.parametrize(
    ("uris", "sources"),
    [
        (["s3://b/in/x/1", "s3://b/in/x/y/2", "s3://b/in/3"], ["s3://b/in/x", "s3://b/in/x", "s3://b/in"]),
        (["/a/b/1", "/a/b/2"], ["/a/b", "/a/b"]),
        (["https://h/x/1?sig=a/b", "https://h/y/2?sig=c/d/e"], ["https://h/x", "https://h/y"]),
        (["/a/b/1", "/a/c/d/2"], ["/a/b", "/a/c"]),
        (["/a/rows.parquet#1/2", "/a/rows.parquet#3"], ["/a", "/a"]),
        ([f"/a/{n}/1.pdf" for n in range(101)], ["/a"] * 101),
        ([], []),
    ],
)
def test_a_source_is_the_first_folder_that_tells_documents_apart(uris: list[str], sources: list[str]) -> None:
    assert sources_of(uris) == sources


def test_an_output_s_rows_are_measured_by_run(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    runs = []
    for night in range(2):
        folder = tmp_path / "in" / f"night{night}"
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{number}.pdf").write_bytes(pdf_bytes([(100 + 10 * night + number, 90)] * 2))
        (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
        runs.append(machine.run(tmp_path / "in"))
    measures = {(one.kind, one.of): one.runs for one in read_measures(machine.output, runs[-1]["tables"])}
    for night, run in enumerate(runs):
        failures = measures["failures", str(tmp_path / "in" / f"night{night}")]
        assert list(failures) == [run["run_id"]]
        failed = {row["uri"]: row["items_failed"] > 0 for row in machine.rows("documents")}
        mine = [value for uri, value in failed.items() if f"/night{night}/" in uri]
        assert sorted(failures[run["run_id"]]) == sorted(map(float, mine))
    assert set(measures["confidence", "answers/text"]) <= {run["run_id"] for run in runs}


def test_a_first_run_and_tables_that_cannot_be_read_are_sentences(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    (tmp_path / "one.pdf").write_bytes(pdf_bytes())
    machine.run(tmp_path / "one.pdf")
    assert report.main([machine.output, "--quality"]) == 2
    assert "has no documents of its last run to compare with" in capsys.readouterr().err
    for file in (tmp_path / "out" / "documents").glob("*.parquet"):
        file.unlink()
    assert report.main([machine.output, "--quality"]) == 2
    assert capsys.readouterr().err.startswith(f"error: the tables of {machine.output} cannot be read: ")


def test_a_field_s_nulls_count_once_a_document(tmp_path: Path) -> None:
    """A document whose field one window of two has found has it; what is shared does not count."""
    tables = create_tables(str(tmp_path / "out"), Letter)
    kind = answer_row(Letter)
    dated: Any = Letter(sender="me", date="today")
    undated: Any = Letter(sender="me")
    found_in: dict[str, list[tuple[str, Any, str | None]]] = {
        "1": [("a", dated, None), ("a", undated, None), ("b", undated, None)],
        "2": [("c", undated, None), ("c", undated, None), ("d", dated, "owner")],
    }
    for run_id, some in found_in.items():
        rows = [
            answer(f"{run_id}{number}", value, Letter).model_copy(
                update={"run_id": run_id, "source_key": key, "shared_from": owner}
            )
            for number, (key, value, owner) in enumerate(some)
        ]
        show(tables, tables["answers"], to_table(kind, rows))
    path = tables["answers"].uri.removeprefix(f"{tmp_path / 'out'}/")
    found = read_measures(str(tmp_path / "out"), {"answers": path, "documents": "documents"})
    assert path.startswith("answers/Letter-")
    nulls = {
        one.of: {run: sorted(of) for run, of in one.runs.items()} for one in found if one.kind == "nulls"
    }
    assert nulls[f"{path}: date"] == {"1": [0.0, 1.0], "2": [1.0]}
    assert nulls[f"{path}: sender"] == {"1": [0.0, 0.0], "2": [0.0]}
    (sure,) = [one.runs for one in found if one.kind == "confidence"]
    assert {run: list(of) for run, of in sure.items()} == {"1": [0.5, 0.5], "2": [0.5]}


@pytest.mark.processes
def test_a_run_that_drifts_says_so(
    tmp_path: Path, one_cpu_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    model, output, folder = save_parrot(tmp_path / "parrot", "Red"), tmp_path / "out", tmp_path / "in"
    folder.mkdir()
    flags = f"--input {folder} --output {output} --question What? --model {model}".split()
    for night, data in enumerate([pdf_bytes([(90, 90)]), b"%PDF-1.7 broken"]):
        for number in range(30):
            (folder / f"{night}-{number}.pdf").write_bytes(data + b"\n%" + str(number).encode())
        assert extract.main(flags) == 0
    printed = capsys.readouterr().out
    drift = f"drift: failures of {folder}: 100.0% of 30 documents, after 0.0% of 30 in the runs before"
    assert printed.count("drift:") == 1
    assert drift in printed
    assert report.main([str(output), "--quality"]) == 0
    assert drift in capsys.readouterr().out
    assert read_record(str(output))["counts"]["failed_documents"] == 30
