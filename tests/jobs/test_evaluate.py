"""The job from a data set to scores, summary and comparison: a failure counts as wrong, nothing is lost."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs import evaluate
from jobs.evaluation import results, summary
from jobs.evaluation.judging import client
from jobs.evaluation.measures import MEASURES
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import read_table
from tests.jobs.evaluation import published
from tests.jobs.evaluation.judging.stub import judging
from tests.jobs.parrot import save_parrot

pytestmark = pytest.mark.processes
CHARTQA = "a folder with ChartQA"


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six questions, of which the model has four right; one names an image that is none."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "a.png").write_bytes(published.png(60, 40))
    (folder / "b.png").write_bytes(published.png(40, 60))
    (folder / "torn.png").write_bytes(published.png(90, 90)[:60])
    rows: list[dict[str, Any]] = [
        {"id": "1", "question": "How many?", "answers": ["forty-two"], "image": "a.png", "kind": "x"},
        {"id": "2", "question": "And?", "answers": ["Forty-twa"], "image": "a.png", "kind": "x"},
        {"id": "3", "question": "Then?", "answers": ["Nothing"], "image": "b.png", "kind": "y"},
        {"id": "4", "question": "Who?", "answers": ["Forty-two"], "image": "torn.png", "kind": "y"},
        {"id": "5", "question": "Both?", "answers": ["Forty-two"], "images": ["a.png", "b.png"], "kind": "y"},
        {"id": "6", "question": "Words?", "answers": ["Forty-two"], "kind": "y"},
    ]
    (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "mine.jsonl"


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_parrot(tmp_path_factory.mktemp("model") / "parrot", "Forty-two")


@pytest.fixture(scope="module")
def evaluated(
    questions: Path, parrot: Path, tmp_path_factory: pytest.TempPathFactory, one_cpu_ray: None
) -> Path:
    output = tmp_path_factory.mktemp("evaluated") / "out #1"
    assert run(questions, output, parrot) == 0
    return output


def run(questions: Path, output: Path, model: Path, *flags: str) -> int:
    return evaluate.main([str(questions), "--output", str(output), "--model", str(model), *flags])


def test_every_question_is_a_row_of_scores(evaluated: Path) -> None:
    rows = {row["id"]: row for row in results.read_scores(str(evaluated))}
    assert list(rows) == ["1", "2", "3", "4", "5", "6"]
    assert {row["measure"] for row in rows.values()} == {"anls"}
    scores = {key: row["scores"] for key, row in rows.items()}
    assert scores["1"] == {"anls": 1.0, "anls_0": 1.0, "exact_match": 1.0}
    assert scores["2"] == {"anls": pytest.approx(8 / 9), "anls_0": pytest.approx(8 / 9), "exact_match": 0.0}
    assert rows["3"]["score"] == 0.0
    assert rows["3"]["answer"] == "Forty-two"
    assert (rows["4"]["answer"], rows["4"]["score"], rows["4"]["reason"]) == (None, 0.0, "damaged_page")
    assert [rows[key]["score"] for key in "56"] == [1.0, 1.0]
    assert len(rows["5"]["images"]) == 2
    assert (rows["1"]["pixels"], rows["6"]["pixels"]) == (2_400, None)
    assert all((evaluated / "questions" / name).is_file() for row in rows.values() for name in row["images"])


def test_an_empty_answer_is_one(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a blank page is right: it is scored, and is no failure."""
    key = read_record(str(evaluated))["plan"]["asks"][0]["settings_key"]
    read = read_table

    def emptied(table: str, columns: tuple[str, ...]) -> pa.Table:
        rows = read(table, columns).to_pylist()
        for row in rows:
            if table.endswith("failures"):
                row |= {"reason": "empty_answer", "raw_text": " \n"}
        return pa.Table.from_pylist(rows)

    monkeypatch.setattr(results, "read_table", emptied)
    found = {one.asked.id: one for one in results.collect(str(evaluated), key)}["4"]
    assert (found.answer, found.reason, found.confidence, found.score) == (" \n", None, None, 0.0)


def test_the_summary_can_be_repeated(evaluated: Path, parrot: Path) -> None:
    found = summary.read(str(evaluated))
    assert (found["questions"], found["answered"], found["failures"]) == (6, 5, {"damaged_page": 1})
    assert found["measures"]["anls"]["mean"] == pytest.approx((3 + 8 / 9) / 6)
    assert (
        found["measures"]["anls"]["low"]
        < found["measures"]["anls"]["mean"]
        < found["measures"]["anls"]["high"]
    )
    kinds = {one["value"]: one for one in found["slices"] if one["name"] == "kind"}
    assert {key: (one["n"], one["mean"]) for key, one in kinds.items()} == {
        "x": (2, pytest.approx(17 / 18)),
        "y": (4, 0.5),
    }
    assert {"answer length", "confidence", "page size"} <= {one["name"] for one in found["slices"]}
    assert found["calibration"]["error"] == 2 / 6
    assert found["data"]["note"] is None
    assert len(found["data"]["hash"]) == len(found["model_key"]) == 64
    assert found["model"] == str(parrot)
    assert {"quire", "torch"} <= set(found["versions"])


def test_the_same_command_scores_again_without_asking(
    evaluated: Path, questions: Path, parrot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = summary.read(str(evaluated))
    assert run(questions, evaluated, parrot) == 0
    printed = capsys.readouterr().out
    assert "6 documents with 6 items were done before" in printed
    assert "1 without an answer, counted as wrong: damaged_page" in printed
    assert "64.8%" in printed
    assert summary.read(str(evaluated))["measures"] == before["measures"]


def test_another_data_set_in_the_same_output_is_refused(
    evaluated: Path, questions: Path, parrot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(questions, evaluated, parrot, "--limit", "2") == 2
    printed = capsys.readouterr().err
    assert "holds answers to other questions (6 of " in printed
    assert "these are 2 of " in printed
    assert len(results.read_scores(str(evaluated))) == 6


def test_two_runs_are_compared(
    evaluated: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_parrot(tmp_path / "other", "Nothing")
    assert run(questions, tmp_path / "out", other) == 0
    assert evaluate.main(["compare", str(evaluated), str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "better in 1 and worse in 4" in " ".join(printed.split())
    mean = f"{(1 - (3 + 8 / 9)) / 6:+.1%}"
    assert mean in printed
    assert (
        "it may be chance: over 6 questions about 4 documents, no difference can be told from it"
        in " ".join(printed.split())
    )
    page = (tmp_path / "out" / "compare.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in ("anls", "anls_0", "exact_match"))
    assert "changed most first" in page
    assert "headline" not in printed  # it is the first measure
    assert run(questions, tmp_path / "out", other, "--measure", "strict_match") == 0
    assert "6 documents with 6 items were done before" in capsys.readouterr().out
    assert evaluate.main(["compare", str(evaluated), str(tmp_path / "out")]) == 2
    assert "out by strict_match: give one of them its command again" in capsys.readouterr().err
    assert run(questions, tmp_path / "two", other, "--limit", "2") == 0
    assert evaluate.main(["compare", str(evaluated), str(tmp_path / "two")]) == 2
    assert "only such can be compared" in capsys.readouterr().err


def texts(output: Path) -> dict[str, str]:
    """What a run's tables hold of each prompt."""
    rows = read_table(f"{output}/answers/text", ("uri", "raw_text")).to_pylist()
    return {row["uri"].rpartition("#")[2].partition("@")[0]: row["raw_text"] for row in rows}


def test_mt_bench_is_asked_in_two_turns_and_graded(
    parrot: Path,
    tmp_path: Path,
    one_cpu_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("JUDGE_API_KEY", "secret")
    data = published.save(tmp_path / "data", "mt-bench")

    def reply(body: dict[str, Any]) -> str | int:
        prompt = body["messages"][1]["content"]
        return 503 if "Write a poem." in prompt and "Shorter." in prompt else "Fine. Rating: [[4]]"

    with judging(reply) as judge:
        flags = ("--judge", judge.url, "--judge-model", "stub")
        monkeypatch.setattr(client, "WAIT_SECONDS", 0.01)
        assert run(data, tmp_path / "out", parrot, *flags) == 0
    assert judge.keys == {"Bearer secret"}
    # Each turn is asked once, the second one behind the first answer.
    assert texts(tmp_path / "out") == dict.fromkeys(["81-1", "111-1", "81-2", "111-2"], "Forty-two")
    assert [place.parent.name for place in (tmp_path / "out").rglob("text/_delta_log")] == ["text"]
    assert read_record(str(tmp_path / "out"))["counts"]["answered"] == 4
    shown = next(body for body in judge.bodies if "### Assistant A:" in body["messages"][1]["content"])
    assert "### Assistant A:\nForty-two\n\n### User:" in shown["messages"][1]["content"]
    rows = {row["id"]: row for row in results.read_scores(str(tmp_path / "out"))}
    assert list(rows) == ["81-1", "111-1", "111-2"]
    assert [row["scores"] for row in rows.values()] == [{"judge": 0.4}] * 3
    found = summary.read(str(tmp_path / "out"))
    assert found["judge"] == {
        "model": "stub",
        "url": judge.url,
        "prompts": 1,
        "graded": 3,
        "ungraded": {"HTTP 503": 1},
    }
    assert "graded by stub, published figures by gpt-4" in found["data"]["note"]
    printed = capsys.readouterr().out
    assert "1 not graded, and left out: HTTP 503" in printed
    assert "40.0%" in printed


@pytest.mark.soak
def test_two_models_are_compared_whose_second_turns_differ(
    parrot: Path,
    tmp_path: Path,
    one_cpu_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Another model's first answers are others: the questions are the same."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    data = published.save(tmp_path / "data", "mt-bench")
    other = save_parrot(tmp_path / "other", "Nothing")
    with judging(lambda body: "Fine. Rating: [[4]]") as judge:
        flags = ("--judge", judge.url, "--judge-model", "stub")
        assert run(data, tmp_path / "out", parrot, *flags) == 0
        assert run(data, tmp_path / "other out", other, *flags) == 0
    assert evaluate.main(["compare", str(tmp_path / "out"), str(tmp_path / "other out")]) == 0
    assert "of 4 questions" in " ".join(capsys.readouterr().out.split())


def test_a_judge_that_does_not_answer_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    judge = "http://127.0.0.1:9/v1"
    assert evaluate.main(["mt-bench", "--judge", judge, "--judge-model", "x"]) == 1
    assert capsys.readouterr().err.startswith(f"broken off: --judge {judge} does not answer: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.jsonl", "--limit", "0"], "--limit 0"),
        (["./nothing.jsonl"], "no such file"),
        (["nothing"], "no data set nothing"),
        (["mine.jsonl", "--measure", "rouge"], "'rouge'"),
        ([CHARTQA, "--measure", "anls"], "--measure is for questions of your own, and chartqa has its own"),
        ([CHARTQA, "--style", "short"], "--style is for questions of your own, and chartqa has its own"),
        (["mt-bench-fastchat"], "is not on the hub: give the path"),
        (["mt-bench", "--judge", "http://127.0.0.1:9/v1"], "--judge URL and --judge-model NAME go together"),
        (["compare", "a"], "required: B"),
        (["compare", "./a", "./b"], "holds no evaluation"),
    ],
)
def test_a_mistake_is_a_sentence(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if CHARTQA in words:
        words = [str(published.save(tmp_path, "chartqa")), *words[1:]]
    assert evaluate.main(words) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_the_help_names_every_measure() -> None:
    named = evaluate.EPILOG.partition("measures of your own questions:")[2].partition("docs/evaluation.md")[0]
    assert set(MEASURES) == set(re.findall(r"[a-z][a-z_0-9]+(?=,|$)", named, re.MULTILINE))


def test_ctrl_c_before_the_run_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find(place: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.evaluation.datasets.finding.find", find)
    assert evaluate.main(["docvqa"]) == 130
    assert capsys.readouterr().err == "stopped: the same command continues\n"
