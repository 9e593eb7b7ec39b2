"""A webhook is told how a run ended; and with --log-json, each line on stderr is an object."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from jobs import extract, retry
from jobs.run import notify
from jobs.run.runner import BrokenOffError
from jobs.run.terminal import say, say_error, write_json
from tests.jobs.parrot import save_parrot
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.local import Machine

SECRET = "T0KEN-of-the-webhook"


class Webhook:
    """A server that notes what it is sent, and answers in turn."""

    def __init__(self) -> None:
        self.answers = [200]
        self.got: list[dict[str, Any]] = []
        self.paths: list[str] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.paths.append(self.path)
                hook.got.append(json.loads(body))
                answer = hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0]
                self.send_response(answer)
                if answer == 302:
                    self.send_header("Location", f"http://127.0.0.1:{hook.server.server_port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/services/{SECRET}?sig=1"


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(notify, "WAITS", (0.01, 0.01))
    found = Webhook()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(autouse=True)
def plain_again() -> Iterator[None]:
    yield
    write_json(False)


COUNTS = ("documents", "documents_done", "complete", "partial", "failed_documents")
RECORD: dict[str, Any] = {
    "counts": dict.fromkeys(COUNTS, 1),
    "failures": {},
    "drift": [],
    "ended": "complete",
    **dict.fromkeys(("run_id", "started_at", "finished_at", "timings")),
}
MESSAGE = {"text": "Quire: out: done", "exit_code": 0}


@pytest.mark.parametrize(
    ("answers", "tries", "said"),
    [
        ([200], 1, ""),
        ([503, 429, 200], 3, ""),
        ([500], 3, "it answers 500"),
        ([404], 1, "it answers 404"),
        ([302], 1, "it answers 302"),
    ],
)
def test_a_webhook_is_tried_a_few_times(
    webhook: Webhook, answers: list[int], tries: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.answers = answers
    notify.notify(webhook.url, MESSAGE)
    assert webhook.got == [MESSAGE] * tries
    assert set(webhook.paths) == {f"/services/{SECRET}?sig=1"}
    printed = capsys.readouterr().err
    assert printed == (
        f"the webhook at 127.0.0.1 could not be told of the end of the run: {said}\n" if said else ""
    )


def test_a_webhook_that_is_away_or_silent_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notify, "WAITS", (0.01,))
    monkeypatch.setattr(notify, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        notify.notify(f"http://127.0.0.1:{port}/{SECRET}", MESSAGE)
    notify.notify(f"http://127.0.0.1:{port}/{SECRET}", MESSAGE)
    said = capsys.readouterr().err
    assert said.splitlines() == [
        f"the webhook at 127.0.0.1 could not be told of the end of the run: {reason}"
        for reason in ("no answer in time", "connection refused")
    ]


def test_a_webhook_that_dribbles_ends_in_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each byte comes in time, and there is no last one."""
    monkeypatch.setattr(notify, "WAITS", ())
    monkeypatch.setattr(notify, "SECONDS", 0.5)
    ended = Event()

    def dribble(listener: socket.socket) -> None:
        with listener.accept()[0] as client:
            client.sendall(b"HTTP/1.1 200 OK\r\n")
            while not ended.wait(0.1):
                client.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Thread(target=dribble, args=(listener,))
        server.start()
        started = time.monotonic()
        notify.notify(f"http://127.0.0.1:{listener.getsockname()[1]}/{SECRET}", MESSAGE)
        assert time.monotonic() - started < 5
        ended.set()
        server.join()
    assert capsys.readouterr().err.endswith(": no answer in time\n")


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks..org/word",
        f"http://{'word' * 16}.org/x",
        "hooks.slack.com/x",
        "ftp://host/x",
        "http://",
        "https://me:word@host/x",
        "http://host/a b",
    ],
)
def test_an_address_that_is_none_is_refused_and_not_repeated(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract.main(["--input", "in", "--output", str(tmp_path), "--notify", url]) == 2
    said = capsys.readouterr().err
    assert "--notify: give the http(s) address of a webhook" in said
    assert "word" not in said.replace("password", "")


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_mistake_is_told_too(webhook: Webhook, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--input", str(tmp_path / "nothing"), "--output", str(tmp_path / "out"), "--question", "What?"]
    assert extract.main([*flags, "--notify", webhook.url, "--log-json"]) == 2
    (told,) = webhook.got
    assert told["exit_code"] == 2
    assert told["text"].startswith(f"Quire: {tmp_path / 'out'}: error: ")
    said = events(capsys.readouterr().err)
    assert [(event["event"], event["level"]) for event in said] == [
        ("message", "error"),
        ("summary", "error"),
    ]
    assert said[0]["text"] == told["error"]
    assert extract.main([*flags, "--questoin", "--log-json"]) == 2
    (mistake,) = events(capsys.readouterr().err)
    assert "unrecognized arguments: --questoin" in mistake["text"]


def test_an_output_with_credentials_is_not_told(webhook: Webhook, capsys: pytest.CaptureFixture[str]) -> None:
    output = "s3://AKIA:hunter2@bucket/out"
    told_of = ["--notify", webhook.url, "--log-json"]
    assert extract.main(["--input", "in", "--output", output, "--question", "What?", *told_of]) == 2
    assert retry.main([output, *told_of]) == 2
    assert [message["exit_code"] for message in webhook.got] == [2, 2]
    assert all("holds credentials" in message["error"] for message in webhook.got)
    assert "hunter2" not in f"{webhook.got} {capsys.readouterr()}"


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (KeyError("hunter2"), 1, "broken off by a fault (KeyError); the log says more"),
        (KeyboardInterrupt(), 130, "stopped: the same command continues"),
    ],
)
def test_a_fault_and_a_stop_before_the_run_are_told(
    webhook: Webhook,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    sentence: str,
) -> None:
    def list_sources(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("pipeline.prepare.list_sources", list_sources)
    flags = ["--input", str(tmp_path), "--output", str(tmp_path / "out"), "--question", "What?"]
    with pytest.raises(KeyError) if code == 1 else nullcontext():
        assert extract.main([*flags, "--notify", webhook.url]) == code
    (told,) = webhook.got
    assert (told["exit_code"], told["error"]) == (code, sentence)


def test_a_retry_of_nothing_is_told(
    webhook: Webhook, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    (tmp_path / "in.pdf").write_bytes(pdf_bytes())
    machine.run(tmp_path / "in.pdf")
    assert retry.main([machine.output, "--notify", webhook.url]) == 0
    (told,) = webhook.got
    assert (told["exit_code"], told["error"]) == (0, None)
    assert told["text"] == f"Quire: {machine.output}: nothing has failed in {machine.output}"


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (None, 0, None),
        (BrokenOffError("broken off: no room"), 1, "broken off: no room"),
        (ValueError("--metrics-port 9100: taken"), 2, "error: --metrics-port 9100: taken"),
        (KeyboardInterrupt("stopped"), 130, "stopped"),
    ],
)
def test_a_run_from_python_is_told_too(
    webhook: Webhook,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException | None,
    code: int,
    sentence: str | None,
) -> None:
    def run_prepared(*_: object) -> dict[str, Any]:
        if error is not None:
            raise error
        return RECORD

    monkeypatch.setattr("jobs.run.runner.run_prepared", run_prepared)
    (tmp_path / "in.pdf").write_bytes(pdf_bytes())
    with pytest.raises(type(error)) if error is not None else nullcontext():
        extract.extract(tmp_path / "in.pdf", output=tmp_path / "out", question="What?", notify=webhook.url)
    (told,) = webhook.got
    assert (told["exit_code"], told["error"]) == (code, sentence)


def test_what_a_job_says_is_escaped_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    write_json(True)
    say("one\ntwo \x1b[2J é")
    say_error("a\nb")
    found = capsys.readouterr().err
    assert found.isascii()
    assert "\x1b" not in found
    assert [event["text"] for event in events(found)] == ["one\ntwo \x1b[2J é", "a\nb"]


@pytest.mark.processes
def test_a_run_tells_its_log_and_its_webhook(
    webhook: Webhook, tmp_path: Path, one_cpu_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, model = tmp_path / "in", save_parrot(tmp_path / "parrot", "Red")
    folder.mkdir()
    (folder / "one.pdf").write_bytes(pdf_bytes())
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    output = tmp_path / "out"
    flags = f"--input {folder} --output {output} --question What? --model {model} --password hunter2"
    flags += f" --log-json --fail-above 10% --notify {webhook.url}"
    assert extract.main(flags.split()) == 3
    printed = capsys.readouterr()
    said = events(printed.err)
    names = [event["event"] for event in said]
    assert names[0] == "start"
    assert names[-1] == "summary"
    (last,) = [event for event in said if event["event"] == "progress"][-1:]
    assert (last["documents_done"], last["documents"], last["answered"]) == (2, 2, 1)
    assert all({"at", "level", "event"} <= event.keys() for event in said)
    (told,) = webhook.got
    assert said[-1].items() >= told.items()
    assert told["text"].startswith(
        f"Quire: {output}: 2 of 2 documents done (1 complete, 0 partial, 1 failed); failures of this run: "
    )
    assert "1 of the 2 documents of this run failed, more than --fail-above 10% allows" in told["text"]
    assert (told["exit_code"], told["ended"], sum(told["failures"].values())) == (3, "complete", 1)
    assert "2 documents: 1 complete" in printed.out
    written = [path.read_text(errors="replace") for path in output.rglob("*") if path.is_file()]
    for secret in (SECRET, "hunter2"):
        assert secret not in f"{printed} {told} {written}"
