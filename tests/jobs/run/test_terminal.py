"""No text that a job prints steers the terminal: it is escaped in one place, and nothing goes around that."""

import ast
import io
import logging
import sys
from pathlib import Path

import pytest
from rich.console import Console

from jobs.bench.printing import print_table
from jobs.evaluation.gold import Line
from jobs.report import answers_table, failures_table
from jobs.run.runner import summary
from jobs.run.terminal import say, say_error, shown, start_output

JOBS = Path(__file__).parents[3] / "jobs"
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x7f"
LINE = Line(uri="/in/café.pdf", page_first=1, page_last=1, what="Total?", answer="€12", confidence=0.5)
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b31m\r\x7f"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HOSTILE, SHOWN),
        ("a\tb\nc", "a\tb\nc"),
        ("naïve £880 日本 שלום", "naïve £880 日本 שלום"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\u2028line", r"\u2028line"),
        ("\udc80.pdf", r"\udc80.pdf"),  # of a name that is no UTF-8
        ("\0\v\f\b", r"\x00\x0b\x0c\x08"),
    ],
)
def test_control_characters_are_written_out(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_an_error_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    say_error(f"error: a{HOSTILE}\nbroken off: b")
    say("two\nlines", sys.stdout)
    printed = capsys.readouterr()
    assert printed.err == f"error: a{SHOWN}\\nbroken off: b\n"
    assert printed.out == "two\nlines\n"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process in which no job has started yet."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    return monkeypatch


def test_the_log_is_escaped(fresh: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fresh.setattr(logging.root, "handlers", [])
    start_output(logging.WARNING)
    logging.getLogger("pipeline").warning("%s: skipped", HOSTILE)
    assert capsys.readouterr().err == f"{SHOWN}: skipped\n"


@pytest.mark.usefixtures("fresh")
def test_an_error_that_nobody_expected_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    start_output(logging.WARNING)
    error = RuntimeError(f"of a library: {HOSTILE}")
    sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err == f"RuntimeError: of a library: {SHOWN}\n"


def test_a_character_that_stdout_cannot_say_costs_itself(fresh: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    fresh.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii", write_through=True))
    start_output(logging.WARNING)
    say("text  /out/Résumés £/answers", sys.stdout)
    Console(file=sys.stdout, width=80).print(answers_table([LINE], []))
    assert printed.getvalue().decode().splitlines() == [
        r"text  /out/R\xe9sum\xe9s \xa3/answers",
        "document  page  question  answer  confidence",
        r"caf\xe9.pdf  1     Total?    \u20ac12           0.50",
    ]


def test_a_report_is_escaped() -> None:
    line = Line(uri=f"/in/{HOSTILE}", page_first=1, page_last=1, what=HOSTILE, answer=HOSTILE, confidence=0.5)
    console = Console(file=io.StringIO(), width=400)
    console.print(answers_table([line], []))
    console.print(failures_table([{"stage": "open", "reason": "damaged", "message": HOSTILE}]))
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert printed.count(SHOWN) == 4
    assert not set(printed) & set(HOSTILE) & set(map(chr, (*range(9), *range(11, 32), *range(127, 160))))


def test_a_summary_s_paths_and_a_benchmark_s_names_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(f"pages of {HOSTILE}", [{"file": HOSTILE}], left=("file",))
    counts = dict.fromkeys(("documents", "complete", "partial", "failed_documents"), 1)
    counts |= dict.fromkeys(("expected", "answered", "failed"), 1)
    record = {
        "counts": counts,
        "timings": {"run_seconds": 1},
        "reused": {"documents": 0},
        "tables": {"a": "b"},
    }
    say(summary(record, f"/out/{HOSTILE}"), sys.stdout)
    printed = capsys.readouterr().out
    assert printed.count(SHOWN) == 3
    assert "\x1b" not in printed


def test_jobs_print_by_this_module_alone() -> None:
    """The others print numbers, JSON, which escapes, or to rich what `shown` has given them."""
    printing = {
        path.relative_to(JOBS).as_posix()
        for path in JOBS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and f".{ast.unparse(node.func)}".endswith((".print", ".basicConfig", "stdout.write", "stderr.write"))
    }
    assert printing == {
        "run/terminal.py",
        "evaluation/printing.py",
        "maintain.py",
        "report.py",
        "run/progress_bar.py",
        "run/runner.py",
        "bench/engine.py",
        "bench/keys_parts.py",
        "bench/object_pages.py",
        "bench/parallel.py",
        "bench/printing.py",
        "bench/reading.py",
    }
