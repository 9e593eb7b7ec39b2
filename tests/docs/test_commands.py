"""Every command and every Python line of README, CONTRIBUTING and docs/ does what is printed beside it.

A block runs as it stands, in a folder like the root whose path has a space, a `#`, a `%` and an accent. What
it prints is compared with the text under it. A block that says `needs` has its commands parsed, no more.
Where no text shows the answers, a tiny random model stands in for nano.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jobs import extract
from tests.docs.markdown import PAGES, ROOT, Block, blocks, inline_commands
from tests.docs.parsers import check
from tests.docs.shell import commands, make_root
from tests.environment import without_ray

BLOCKS = [block for page in PAGES for block in blocks(page)]
MENTIONED = [block for page in PAGES for block in inline_commands(page)]
OUTPUT = re.compile(r"(?<![\w/])out/(\w+)(?![\w.])")  # of a run that a block reads or writes
WRITES = re.compile(r"(?:--output |output=\")out/(\w+)")
SHOWN = {name for block in BLOCKS if block.prints for name in OUTPUT.findall(f"{block.code}\n{block.prints}")}
SHORT = {name for block in BLOCKS if block.page == "README.md" for name in WRITES.findall(block.code)} | {
    "demo"
}
CLOSE_SECONDS = 120
Test = TypeVar("Test", bound=Callable[..., None])


class Reader:
    """Somebody who types what the documentation prints, in a folder of their own."""

    def __init__(self, folder: Path, nano: Path, tiny: Path) -> None:
        self.folder = folder
        self._nano, self._tiny = nano, tiny
        self._said: dict[str, str] = {}  # by the code of a block
        self._log = (folder / ".venv" / "log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.docs.reader"],
            cwd=folder,
            env=without_ray(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def close(self) -> None:
        """Ends Ray and the process, which must not need long for it."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            with suppress(BrokenPipeError):  # it has died, and a test has said so
                self._process.stdin.close()
            self._process.wait(CLOSE_SECONDS)
        finally:
            self._process.kill()
            self._process.stdout.close()
            self._log.close()

    def type(self, block: Block) -> str:
        """What the block prints, after those that write what it reads; a block is typed once."""
        if block.code not in self._said:
            self._said[block.code] = ""  # it may read what it writes
            for name in OUTPUT.findall(block.code):
                if not (self.folder / "out" / name).exists():
                    self.type(writer_of(name))
            self._said[block.code] = (
                self._python(block.code) if block.language == "python" else self._shell(block.code)
            )
        return self._said[block.code]

    def _shell(self, code: str) -> str:
        said = ""
        for program, *words in commands(self.folder, code, make=True):
            # The tests that `make test` starts are none of a reader's: this is one of them.
            if program == "python" and words[0] == "-m" and words[1].startswith(("jobs.", "docs.")):
                reply = self.run(words[1], words[2:])
                assert reply["code"] == 0, f"{code}\n{reply['said']}"
                said += reply["said"]
        return said

    def run(self, module: str, arguments: list[str]) -> dict[str, Any]:
        """Runs a job; its exit code and what it printed."""
        shown = SHOWN & set(OUTPUT.findall(" ".join(arguments)))
        job = {"module": module, "arguments": arguments, "model": str(self._nano if shown else self._tiny)}
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):  # the reply is missing, too
            print(json.dumps(job), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, Path(self._log.name).read_text()
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _python(self, code: str) -> str:
        if named := re.match(r"# (\w+\.py)\n", code):  # a file to save
            (self.folder / named[1]).write_text(code)
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=without_ray(),
            capture_output=True,
            text=True,
            timeout=600,  # it may start a Ray
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
        return done.stdout


def writer_of(name: str) -> Block:
    """The block of which `out/NAME` is the output."""
    for block in BLOCKS:
        if block.needs is None and (
            name in WRITES.findall(block.code) or (name == "demo" and "make demo" in block.code)
        ):
            return block
    pytest.fail(f"no block writes out/{name}")


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[Reader]:
    folder = make_root(tmp_path_factory.mktemp("à quire # 5%"))
    someone = Reader(folder, folder / "model" / "nano", tiny_checkpoint)
    yield someone
    someone.close()


def for_a_reader(test: Test) -> Test:
    """Marks what starts a Ray; on a busy machine the demo takes minutes."""
    for mark in (pytest.mark.processes, pytest.mark.program("make"), pytest.mark.timeout(900)):
        test = mark(test)
    return test


def lines(text: str) -> list[list[str]]:
    """Lines as cells, without what differs from one CPU or moment to another: confidences and seconds."""
    found = []
    for line in text.splitlines():
        cells = re.split(r" {2,}", re.sub(r", in \d+ s$", "", line.strip()))
        found.append(["*" if re.fullmatch(r"[01]\.\d\d", cell) else cell for cell in cells])
    return found


def has_a_run(block: Block) -> bool:
    """Whether it makes something of its own under `out`, or reads it: seconds each, and minutes together.

    `make soak` runs these; `make test` runs those of README and the short ones, and parses the commands of
    the others.
    """
    if block.needs is not None or block.page == "README.md":
        return False
    return not SHORT.issuperset(re.findall(r"\bout/(\w+)(?!\w|\.png)", block.code))


@for_a_reader
@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=str(block), marks=[pytest.mark.soak] if has_a_run(block) else [])
        for block in BLOCKS
        if block.needs is None and block.language != "json"
    ],
)
def test_a_block_does_what_it_says(block: Block, reader: Reader) -> None:
    assert block.language in ("sh", "python")
    said = lines(reader.type(block))
    if block.prints is None:
        return
    rest = iter(said)
    for line in lines(block.prints):
        if line != ["..."]:
            assert line in rest, f"{block}: {line} is not printed, or not there:\n{said}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=str)
def test_a_block_of_json_is_a_part_of_the_file_that_it_names(block: Block) -> None:
    named = re.findall(r"\]\(\.\./([^)]+\.json)\)", block.words)
    assert named, f"{block}: link the file in the paragraph above"
    rest = iter((ROOT / named[-1]).read_text().splitlines())
    for line in block.code.splitlines():
        if line.strip() != "...":
            assert line in rest, f"{block}: {line} is not in {named[-1]}, or not there"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.needs or has_a_run(b)] + MENTIONED, ids=str)
def test_a_command_that_is_not_run_is_one_that_parses(
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if block.language == "python":  # a test of its own runs it
        compile(block.code, str(block), "exec")
        return
    assert block.language == "sh"
    found = commands(make_root(tmp_path), block.code, make=False)
    assert found, f"{block}: no command in {block.code}"
    for words in found:
        check(words, monkeypatch, capsys)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.needs], ids=str)
def test_a_block_that_is_not_run_says_so_in_words(block: Block) -> None:
    assert len(block.words) > 20, f"{block}: say in words that it needs {block.needs}"


def test_the_help_shows_the_way_of_reading_that_the_documentation_runs() -> None:
    shown = [block.code for block in BLOCKS if block.language == "python" and block.page == "README.md"]
    (line, query) = re.findall(r"^(?:answers|rows) = .*\)", shown[0], re.MULTILINE)
    assert line.replace("out/demo", "OUT") in extract.EPILOG
    assert query in extract.EPILOG


@for_a_reader
def test_nano_answers_four_fifths_of_the_samples_questions(reader: Reader) -> None:
    """What `make demo` promises."""
    said = reader.type(writer_of("demo"))
    found = re.search(r"^(\d+) of 40 expected answers are right", said, re.MULTILINE)
    assert found, said
    assert int(found[1]) >= 32


@for_a_reader
def test_an_output_with_an_escape_in_its_path_is_refused(reader: Reader) -> None:
    reply = reader.run(
        "jobs.extract", ["--input", "samples/documents", "--output", "out/50%20", "--question", "Total?"]
    )
    assert reply["code"] == 2
    assert "has %20 in its path" in reply["said"]
