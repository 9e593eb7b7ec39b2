"""Answers are graded by a judge: what it is asked, what counts as a rating, and what happens if it fails."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from jobs.evaluation import loading, questions
from jobs.evaluation.datasets.finding import find
from jobs.evaluation.judging.client import Endpoint, JudgeError
from jobs.evaluation.judging.grading import AT_ONCE, Grader
from jobs.evaluation.judging.requests import of_turns, rating, with_references
from tests.jobs.evaluation import kept, published
from tests.jobs.evaluation.judging.stub import judging
from tests.jobs.evaluation.test_datasets import asked, jsonl

VECTORS = kept.load("judges")


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between the test and its judge."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def write(place: Path, output: Path, *, judged: bool = True) -> list[str]:
    """OUT/questions of a data set; returns their ids."""
    found = find(str(place))
    some = list(loading.questions(found, style="free", measures=("judge",), limit=None, judged=judged))
    questions.write(str(output), some, name="x", place="x", note=lambda count: None, prompts=1)
    return [one.id for one in some]


def endpoint(url: str, **options: Any) -> Endpoint:
    return Endpoint(url=url, model="stub", wait_seconds=0.01, **options)


def test_prompts_are_those_that_were_published() -> None:
    rows = [row for row in VECTORS if "questions" in row]
    assert [len(row["questions"]) for row in rows] == [1, 2, 3]
    for row in rows:
        *before, last = zip(row["questions"], row["references"], strict=True)
        said = [one for q, a in before for one in (message("user", q), message("assistant", a))]
        system, user = with_references([*said, message("user", last[0])], last[1], row["answer"])
        assert user["content"] == row["prompt"]
        assert system["content"].startswith("Please act as an impartial judge")
    for row in (row for row in VECTORS if "name" in row):
        multi, math = "multi" in row["name"], "math" in row["name"]
        said = [message("user", "q {1}")]
        said += [message("assistant", "a1"), message("user", "q2")] if multi else []
        references = (["ref {one}", "ref two"] if multi else ["ref {one}"]) if math else []
        system, user = of_turns(said, references, "a2")
        assert (system["content"], user["content"]) == (row["system"], row["prompt"])


def test_ratings_are_read_as_by_mistral_evals_and_fastchat() -> None:
    ours = {"[8]": 8.0, "[[0]]": None}  # FastChat's second pattern; no rating from 1 to 10
    for row in (row for row in VECTORS if "judgement" in row):
        theirs = None if row["rating"] == -1 else row["rating"]
        assert rating(row["judgement"]) == ours.get(row["judgement"], theirs), row
    assert rating("[[11]]") is None


def test_the_judge_sees_question_image_and_references(tmp_path: Path) -> None:
    (first, second) = write(published.save(tmp_path / "data", "mm-mt-bench"), tmp_path / "out")
    with judging(lambda body: "Good. Rating: [[7]]") as judge:
        grade = Grader(str(tmp_path / "out"), endpoint(judge.url, key="secret"))
        assert grade({first: "A plot.", second: "Of sales."}) == {first: {"": 7.0}, second: {"": 7.0}}
    assert judge.keys == {"Bearer secret"}
    body = max(judge.bodies, key=lambda body: len(json.dumps(body)))
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("stub", 0.0, 2_048)
    before, image, after = body["messages"][1]["content"]
    assert before["text"] == "<|The Start of Conversation with User|>\n\n### User:\n"
    kind, _, data = image["image_url"]["url"].partition(",")
    assert (kind, base64.b64decode(data)) == ("data:image/png;base64", published.png())
    assert after["text"].startswith(
        "What?\n\n### Reference answer:\nA chart.\n\n### User:\nOf what?\n\n### Ref"
    )
    assert "### Assistant's answer:\nOf sales.\n\n" in after["text"]
    assert "secret" not in (tmp_path / "out" / "judgements.jsonl").read_text()
    assert "secret" not in repr(endpoint(judge.url, key="secret"))


def test_each_answer_is_graded_once_and_failures_are_asked_again(tmp_path: Path) -> None:
    rows = [{"id": str(n), "question": f"Q{n}?", "answer": "A", "metric": "judge"} for n in range(20)]
    ids = write(jsonl(tmp_path, *rows), tmp_path / "out")
    barrier = threading.Barrier(AT_ONCE)

    def reply(body: dict[str, Any]) -> str | int:
        text = body["messages"][1]["content"][0]["text"]
        if not barrier.broken and len(judge.bodies) <= AT_ONCE:
            barrier.wait(5)
        return 500 if "Q3?" in text else "no idea" if "Q4?" in text else 400 if "Q5?" in text else "[[5]]"

    answers = {id: f"answer {id}" for id in ids if id != "6"}
    with judging(reply) as judge:
        grade = Grader(str(tmp_path / "out"), endpoint(judge.url))
        found = grade(answers)
        assert set(ids) - set(found) == {"3", "4", "5", "6"}
        assert {one[""] for one in found.values()} == {5.0}
        assert grade.failures == {"HTTP 500": 1, "no rating in what the judge said": 1, "HTTP 400": 1}
        assert grade.about()["graded"] == 16
        assert judge.most_at_once == AT_ONCE
        assert len(judge.bodies) == 16 + 3 + 3 + 1  # a wrong request is not repeated
        judge.reply = lambda body: "[[9]]"
        judge.bodies.clear()
        again = Grader(str(tmp_path / "out"), endpoint(judge.url))(answers | {"0": "another answer"})
        assert len(judge.bodies) == 4
    assert {id for id, one in again.items() if one[""] == 9.0} == {"0", "3", "4", "5"}


def test_each_value_of_an_extraction_is_judged(tmp_path: Path) -> None:
    properties = {"name": {"type": "string"}, "city": {"type": "string"}, "year": {"type": "integer"}}
    row = {
        "question": "All?",
        "answer": {"name": "Ann", "city": "Rome", "year": 1},
        "metric": "extractbench_f1",
    }
    rows = [row | {"id": id, "schema": {"type": "object", "properties": properties}} for id in "abc"]
    write(jsonl(tmp_path, *rows), tmp_path / "out")
    answers = {"a": '{"name": "ANN", "city": "Oslo"}', "b": '{"name": "x", "year": 1}', "c": '{"year": "1"}'}

    def reply(body: dict[str, Any]) -> str | int:
        assert "max_tokens" not in body
        text = body["messages"][1]["content"]
        if '"x"' in text:
            return "```json\n{}\n```"
        return json.dumps({"score": 0.9 if "ANN" in text else 0.1, "reasoning": "As I see it."})

    with judging(reply) as judge:
        grade = Grader(str(tmp_path / "out"), endpoint(judge.url))
        found = grade(answers)
        # Of b one value has no rating; c is not of its schema, and nothing is asked about it.
        assert found == {"a": {"$.name string_semantic": 0.9, "$.city string_semantic": 0.1}, "c": {}}
        assert grade.failures == {"no rating in what the judge said": 1}
        assert len(judge.bodies) == 2 + 3
        judge.bodies.clear()
        judge.reply = lambda body: '{"score": 1, "reasoning": ""}'
        assert Grader(str(tmp_path / "out"), endpoint(judge.url))(answers)["b"] == {
            "$.name string_semantic": 1.0
        }
        assert len(judge.bodies) == 1


def test_a_judge_that_is_slow_or_talks_nonsense_has_a_reason() -> None:
    def late(body: dict[str, Any]) -> str:
        time.sleep(0.5)
        return "late"

    with judging(late) as judge, pytest.raises(JudgeError) as slow:
        endpoint(judge.url, seconds=0.05).ask([])
    assert str(slow.value) == "no answer in 0.05 s"
    with judging(lambda body: "[[5]]") as judge:
        url = judge.url
        judge.reply = lambda body: None  # type: ignore[assignment, return-value]  # no answer at all
        with pytest.raises(JudgeError, match="a reply without a text"):
            endpoint(url).ask([])
    with pytest.raises(JudgeError, match="refused"):
        endpoint(url).ask([])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("judge:8000", "give the URL"),
        ("file:///etc/passwd", "give the URL"),
        ("http://me:key@host/v1", "a URL alone"),
        ("http://host/v1?key=1", "a URL alone"),
    ],
)
def test_what_is_no_url_of_an_endpoint_is_refused(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        endpoint(url)


def test_the_key_is_neither_shown_nor_sent_elsewhere() -> None:
    with pytest.raises(ValueError, match="JUDGE_API_KEY holds") as refused:
        endpoint("http://127.0.0.1:1/v1", key="sk-secret\n")
    assert "secret" not in str(refused.value)
    asked: list[str] = []

    class Leading(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Leading) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint(f"http://127.0.0.1:{server.server_port}/v1", key="sk-secret").check()
        server.shutdown()
    assert asked == ["/v1/models"]


def test_a_judge_is_tried_before_the_model_runs() -> None:
    with judging(lambda body: "") as judge:
        endpoint(judge.url).check()  # it need not list its models
        with pytest.raises(ValueError, match=r"refuses the key \(401\): set JUDGE_API_KEY"):
            endpoint(judge.url, key="wrong").check()
    with pytest.raises(ValueError, match=r"does not answer: .*refused"):
        endpoint(judge.url).check()


def test_without_a_judge_its_measure_is_left_out_or_refused(tmp_path: Path) -> None:
    folder = published.save(tmp_path / "a", "mm-mt-bench")
    (first, _) = loading.questions(find(str(folder)), style="free", measures=(), limit=None)
    assert first.measures == ("edit_similarity",)
    with pytest.raises(ValueError, match="mt-bench is graded by a judge: give --judge URL and --judge-model"):
        write(published.save(tmp_path / "b", "mt-bench"), tmp_path / "out", judged=False)
    found = find(str(folder))
    assert "without a judge" in str(loading.note(found, 92))
    assert loading.note(found, 92, "x") == "graded by x, published figures by gpt-4o-2024-05-13"


def test_the_second_question_of_mt_bench_follows_the_models_own_answer(tmp_path: Path) -> None:
    folder = published.save(tmp_path, "mt-bench")
    found = find(str(folder))
    assert found.family is not None
    assert found.family.follow is not None
    first = asked(folder)
    poem, sum_ = loading.followed(first, {"81-1": "Roses."}, found.family.follow)
    assert [one.id for one in (poem, sum_)] == ["81-2", "111-2"]
    assert [turn.parts[0] for turn in poem.turns] == ["Write a poem.", "Roses.", "Shorter."]
    assert [turn.parts[0] for turn in sum_.turns] == ["What is 1 + 1?", "", "And twice that?"]
    assert [one.facts["references"] for one in (*first, poem, sum_)] == [[], ["2", "4"], [], ["2", "4"]]
    assert [one.answers[0] for one in (poem, sum_)] == ["a judge's rating", "4"]


def test_mt_bench_is_read_as_fastchat_publishes_it(tmp_path: Path) -> None:
    rows = [
        {"question_id": 81, "category": "writing", "turns": ["Write.", "Shorter."]},
        {"question_id": 111, "category": "math", "turns": ["1 + 1?", "Twice?"], "reference": ["", ""]},
    ]
    (tmp_path / "question.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"question 111 \(math\) has no reference answer"):
        asked(tmp_path)
    (tmp_path / "reference_answer").mkdir()
    answer = {"question_id": 111, "model_id": "gpt-4", "choices": [{"index": 0, "turns": ["2", "4"]}]}
    (tmp_path / "reference_answer" / "gpt-4.jsonl").write_text(json.dumps(answer))
    writing, math = asked(tmp_path)
    assert (writing.facts["references"], math.facts["references"]) == ([], ["2", "4"])
    assert math.facts["following"] == ["Twice?"]
