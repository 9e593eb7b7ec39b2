"""A dialogue at a terminal: what mistral-chat does in the model card, and what a person may do wrong."""

import base64
import io
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs import chat
from jobs.serving.dialogue import IMAGE, IMAGES, TEXT, Answering, Conversation
from jobs.serving.viewing import View, Viewer
from model.chat import Chat, Reply
from model.engine.config import EngineConfig
from model.executor.factory import ExecutorConfig
from pipeline.rasterize import confinement
from tests.hub import COMMIT, Repository, served
from tests.pipeline.drawn import pdf_bytes
from tests.web import web

ROOT = Path(__file__).parents[2]
RECEIPT = ROOT / "samples" / "documents" / "receipt.png"
QUESTION = "What is the total?"
SMALL = EngineConfig(executor=ExecutorConfig(cache_tokens=16_384))
FOREVER = ("--max-tokens", "100000", "--temperature", "1")  # of a model with random weights


@pytest.fixture(scope="module")
def nano() -> Chat:
    return Chat.load("model/nano", config=SMALL)


class Terminal:
    """`jobs.chat` at a terminal of its own."""

    def __init__(self, *flags: object) -> None:
        here, there = pty.openpty()
        termios.tcsetwinsize(there, (50, 500))  # no line is longer
        self._terminal = here
        self.said = ""
        command = [sys.executable, "-m", "jobs.chat"]
        self.process = subprocess.Popen(
            # Of a session of its own, the first terminal that it opens is the one whose Ctrl-C reaches it.
            ["sh", "-c", 'exec "$@" < "$0"', os.ttyname(there), *command, *map(str, flags)],
            cwd=ROOT,
            env=os.environ | {"TERM": "dumb"},
            stdin=there,
            stdout=there,
            stderr=there,
            start_new_session=True,
        )
        os.close(there)

    def read_until(self, end: str) -> str:
        """What it prints up to and with `end`, as a person sees it."""
        while end not in self.said:
            try:
                piece = os.read(self._terminal, 65536)
            except OSError:
                piece = b""
            assert piece, f"it ended: {self.said}"
            self.said += re.sub(r"\x1b\[\?2004[hl]\r?", "", piece.decode()).replace("\r\n", "\n")
        before, _, self.said = self.said.partition(end)
        return before + end

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def end(self) -> int:
        """Its exit code after Ctrl-D."""
        self.type("\x04")
        code = self.process.wait(60)
        os.close(self._terminal)
        return code


@pytest.fixture
def terminal() -> Iterator[Any]:
    """Starts the job at a terminal."""
    started: list[Terminal] = []

    def start(*flags: object) -> Terminal:
        started.append(Terminal(*flags))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.mark.processes
def test_the_dialogue_of_the_model_card(terminal: Any, nano: Chat) -> None:
    """mistral-chat MODEL --instruct --max_tokens 256 --temperature 0.35, with an image from the web."""
    first, second = "What can you see on the following picture?", QUESTION
    how: Any = {"max_new_tokens": 256, "temperature": 0.35}
    said = [{"role": "user", "content": [first, Image.open(RECEIPT)]}]
    answers = [nano.reply(said, **how).text]
    said += [{"role": "assistant", "content": answers[0]}, {"role": "user", "content": [second]}]
    answers.append(nano.reply(said, **how).text)
    with web(RECEIPT.parent) as site:
        flags = ("--max-tokens", 256, "--temperature", 0.35, "--allow-http", "--allow-host", "127.0.0.1")
        dialogue = terminal(ROOT / "model" / "nano", *flags)
        assert dialogue.read_until(TEXT) == TEXT
        dialogue.type(f"{first}\n")
        assert dialogue.read_until(IMAGE) == f"{first}\n{IMAGES}\n{IMAGE}"
        url = f"http://127.0.0.1:{site.server_port}/receipt.png"
        dialogue.type(f"{url}\n")
        assert dialogue.read_until(IMAGE) == f"{url}\n{IMAGE}"
        dialogue.type("\n")
        assert dialogue.read_until(TEXT) == f"\n{answers[0]}\n\n{TEXT}"
        dialogue.type(f"{second}\n")
        dialogue.read_until(IMAGE)
        dialogue.type("\n")
        assert dialogue.read_until(TEXT) == f"\n{answers[1]}\n\n{TEXT}"
    assert dialogue.end() == 0
    assert all(answers)


@pytest.mark.processes
def test_ctrl_c_ends_an_answer_and_ctrl_d_the_dialogue(terminal: Any, tiny_checkpoint: Path) -> None:
    dialogue = terminal(tiny_checkpoint, *FOREVER)
    dialogue.read_until(TEXT)
    dialogue.type("\x03")
    assert dialogue.read_until(TEXT).endswith(f"[Ctrl-D ends the dialogue.]\n{TEXT}")
    for _ in range(2):
        dialogue.type("Go on\n")
        dialogue.read_until(IMAGE)
        dialogue.type("\n")
        while len(dialogue.said) < 50:  # the answer has begun
            dialogue.said += os.read(dialogue._terminal, 1000).decode()
        os.killpg(dialogue.process.pid, signal.SIGINT)
        assert dialogue.read_until(TEXT).endswith(f"\n[stopped]\n\n{TEXT}")
    assert dialogue.end() == 0


def test_an_answer_that_was_ended_stays_as_far_as_it_came(tiny_checkpoint: Path) -> None:
    chat = Chat.load(tiny_checkpoint, config=SMALL)
    conversation = Conversation(chat, Answering(max_tokens=16_000, temperature=1.0), "Be brief.")
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert not conversation.ask("Go on", [])
    system, asked, answered = conversation._said
    assert (system["role"], asked["content"]) == ("system", ["Go on"])
    assert answered["role"] == "assistant"
    assert len(answered["content"]) > 10
    conversation._answering = Answering(max_tokens=4)
    assert conversation.ask("And now?", [])
    assert [one["role"] for one in conversation._said[1:]] == ["user", "assistant"] * 2


def run(*flags: object, input: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "jobs.chat", *map(str, flags)],
        cwd=ROOT,
        env=os.environ | more,
        input=input,
        capture_output=True,
        text=True,
    )


def test_what_is_said_is_cut_into_tokens_once(nano: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[int] = []
    encode = nano._tokenizer.encode_conversation

    def counted(said: Any) -> list[int]:
        cut.append(len(said))
        return encode(said)

    monkeypatch.setattr(nano._tokenizer, "encode_conversation", counted)
    assert Conversation(nano, Answering(max_tokens=2), None).ask(QUESTION, [])
    assert cut == [1]


def test_a_machine_without_a_part_of_the_sandbox_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(confinement, "lacking", lambda: "Landlock (ENOSYS)")
    assert chat.main(["--prompt", "a", "--image", "/nowhere"]) == 2
    assert "this machine lacks Landlock (ENOSYS)" in caplog.text


@pytest.mark.processes
def test_one_question_is_answered_on_stdout_and_nothing_else(nano: Chat) -> None:
    answer = nano.reply([{"role": "user", "content": [QUESTION, Image.open(RECEIPT)]}]).text
    done = run("--prompt", QUESTION, "--image", RECEIPT)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{answer}\n", "")
    cut = run("--prompt", QUESTION, "--max-tokens", 1)
    assert cut.stderr == "[cut after 1 tokens: --max-tokens]\n"


@pytest.mark.processes
def test_a_dialogue_through_a_pipe(nano: Chat) -> None:
    answer = nano.reply([{"role": "user", "content": [QUESTION, Image.open(RECEIPT)]}]).text
    done = run(input=f"\n{QUESTION}\n/nowhere.png\n{RECEIPT}\n\n")
    assert done.returncode == 0
    assert done.stdout == f"{TEXT}{TEXT}{IMAGES}\n{IMAGE}{IMAGE}{IMAGE}{answer}\n\n{TEXT}\n"
    assert done.stderr == "/nowhere.png is no longer there, or never was\n"


def test_what_an_answer_holds_does_not_steer_the_terminal(
    nano: Chat, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No piece of an escape sequence comes through, wherever the pieces end."""
    reply = nano.reply([{"role": "user", "content": "x"}], max_new_tokens=1)

    def follow(*_: Any, **__: Any) -> Generator[str, None, Reply]:
        yield from ("one\n", "\x1b", "]0;owned\x07", "", "\x9b2J\r", "two")
        return reply

    monkeypatch.setattr(nano, "follow", follow)
    Conversation(nano, Answering(max_tokens=8), None).ask("Go on", [])
    assert capsys.readouterr().out == "one\n\\x1b]0;owned\\x07\\x9b2J\\rtwo\n"


@pytest.mark.processes
def test_images_are_opened_in_the_sandbox_alone(tiny_checkpoint: Path) -> None:
    script = (
        "import sys; from jobs import chat; code = chat.main(sys.argv[1:]);"
        "print(code, [name for name in sys.modules if 'pymupdf' in name or 'ImagePlugin' in name])"
    )
    flags = [tiny_checkpoint, "--prompt", QUESTION, "--image", RECEIPT]
    flags += ["--image", Path("samples/documents/invoice.pdf")]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, flags), "--max-tokens", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.processes
def test_the_model_may_be_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "commit", ignore=shutil.ignore_patterns(".model_key*"))
    with served({"models/someone/Tiny": Repository({COMMIT: tmp_path / "commit"})}) as hub:
        names = {name: value for name, value in hub.environment(tmp_path / "home").items() if "HF_" in name}
        done = run("someone/Tiny@main", "--prompt", "Go on", "--max-tokens", 4, **names)
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith(f"fetching someone/Tiny@{COMMIT}: 2 files, ")
        hub.asked.clear()
        missing = run("someone/Tiny", "--prompt", "Go on", "--image", "/nowhere", **names)
        assert (missing.returncode, missing.stderr) == (
            2,
            "error: /nowhere is no longer there, or never was\n",
        )


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    one = Viewer(View(max_side=1024, patch_size=16, limit_images=4))
    yield one
    one.close()


def test_a_place_is_a_path_or_an_address(viewer: Viewer, tmp_path: Path) -> None:
    expected = np.asarray(Image.open(RECEIPT).convert("RGB"))
    data = base64.b64encode(RECEIPT.read_bytes()).decode()
    (tmp_path / "a b.png").write_bytes(RECEIPT.read_bytes())
    for place in (str(RECEIPT), f"file://{tmp_path}/a%20b.png", f"data:image/png;base64,{data}"):
        (image,) = viewer.see(place)
        assert np.array_equal(np.asarray(image), expected), place


def test_the_pages_of_a_document_are_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a long path is cut in a sentence
    (tmp_path / "three.pdf").write_bytes(pdf_bytes([(100, 100), (200, 100), (100, 200)]))
    viewer = Viewer(View(max_side=64, patch_size=16, pages=(2, None), limit_images=3))
    try:
        assert [image.size for image in viewer.see("three.pdf")] == [(64, 32), (32, 64)]
        with pytest.raises(ValueError, match=r"2 images were shown, and .*three.pdf has 2 pages: .*3 images"):
            viewer.see("three.pdf", before=2)
        (tmp_path / "one.pdf").write_bytes(pdf_bytes([(100, 100)]))
        with pytest.raises(ValueError, match=r"--pages: .*one\.pdf has 1 pages, and none of these"):
            viewer.see("one.pdf")
    finally:
        viewer.close()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("/nowhere", "/nowhere is no longer there, or never was"),
        (str(ROOT), "cannot be read"),
        ("README.md", "README.md is "),
        ("ftp://host/file", "give a path, file://, s3"),
        ("data:nothing", "has no comma"),
        ("https://example.com/a.png", "is not fetched: --allow-http allows it"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(viewer: Viewer, place: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        viewer.see(place)


def test_a_limit_of_the_sandbox_names_no_flag_of_other_jobs(
    viewer: Viewer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    Image.new("1", (40_000, 40_000)).save(buffer, "PNG")
    monkeypatch.chdir(tmp_path)  # a long path is cut in a sentence
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"bomb\.png") as caught:
        viewer.see("bomb.png")
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max-tokens", "0"], "--max-tokens 0: it must be at least 1"),
        (["--limit-images", "0"], "--limit-images 0: it must be at least 1"),
        (["--temperature", "9"], "--temperature 9: it must be 0 to 5"),
        (["--top-p", "0"], "--top-p 0: it must be above 0"),
        (["--image", str(RECEIPT)], "--image is about --prompt, which is missing"),
        (["--prompt", " "], "--prompt is empty"),
        (["--prompt", "a", "--system", ""], "--system is empty"),
        (["--allow-host", "localhost"], "--allow-host is about the web: add --allow-http"),
        (["--max-side", "8"], "--max-side 8: for this model it is 16"),
        (["--pages", "3-1"], "--pages 3-1: give a page or a range"),
        (["/nowhere/model"], "/nowhere/model holds no checkpoint"),
        (
            ["nobody/nothing"],
            "error: model nobody/nothing: there is no such folder here, and the hub",
        ),
        (["--prompt", "a", "--image", "/nowhere"], "/nowhere is no longer there"),
        (["--prompt", "a", "--image", "https://host/a"], "https://host/a is not fetched: --allow-http"),
        (["--prompt", "a", "--image", "http://127.0.0.1/a", "--allow-http"], "--allow-host 127.0.0.1 allows"),
        (["--prompt", "a", "--max-tokens", "128000"], "holds 128,000: lower --max-tokens, show fewer images"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_a_mistake_is_a_sentence(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chat.main(flags) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.processes
def test_ctrl_c_ends_a_single_answer(tiny_checkpoint: Path) -> None:
    job = subprocess.Popen(
        [sys.executable, "-m", "jobs.chat", str(tiny_checkpoint), "--prompt", "Go on", *FOREVER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert job.stdout is not None
    assert job.stdout.read(20)
    time.sleep(0.2)
    job.send_signal(signal.SIGINT)
    _, said = job.communicate(timeout=60)
    assert (job.returncode, said) == (130, b"")
