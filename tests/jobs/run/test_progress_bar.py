"""What a person sees while a run goes on."""

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from jobs.run import progress_bar as display
from pipeline.commit import pace
from pipeline.commit.document_progress import Counts
from pipeline.commit.pace import Pace


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    monkeypatch.setattr(pace, "time", clock)
    return clock


def test_speed_and_time_left_are_measured_from_the_first_result(clock: Clock) -> None:
    its = Pace()

    def line() -> str:
        its.look(counts)
        return display.line_of(counts, its)

    counts = Counts(documents=4, documents_open=2, expected=20)
    assert line() == "0 of 4 documents, 0 items answered, 0 failed"
    clock.now += 1000  # the model loads
    counts.answered, counts.pages = 2, 1
    assert line() == "0 of 4 documents, 2 items answered, 0 failed"
    clock.now += 10
    counts.answered, counts.failed, counts.pages, counts.documents_done = 11, 1, 6, 1
    # 10 items in 10 s; 28 of 40 are left, since two documents have 20.
    assert line() == "1 of 4 documents, 11 items answered, 1 failed, 0.5 pages/s, about 0:28 left"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (80, "1:20"), (4000, "1:06:40"), (59.6, "1:00")])
def test_a_duration_reads_like_a_clock(seconds: float, text: str) -> None:
    assert display._clock(seconds) == text


def test_without_a_terminal_a_line_comes_every_few_seconds_and_at_the_end(clock: Clock) -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    counts = Counts(documents=2)
    with display.progress(console) as observe:
        for step in range(30):
            clock.now += 1
            counts.answered = step
            counts.documents_done = 2 if step == 29 else 0
            observe(counts)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 7
    assert lines[-1].startswith("2 of 2 documents, 29 items answered")


def test_in_a_terminal_one_line_lives_and_goes() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    counts = Counts(documents=2, documents_open=2, expected=5, answered=3, documents_done=1)
    with display.progress(console) as observe:
        observe(Counts(documents=2))
        observe(counts)
    assert isinstance(console.file, io.StringIO)
    drawn = console.file.getvalue()
    assert "starting" in drawn
    assert "1 of 2 documents, 3 items answered, 0 failed" in drawn


class Cell:
    """What IPython gives for something that is shown below a cell."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, html: str, display_id: bool) -> "Cell":
        assert display_id
        self.shown.append(html)
        return self

    def update(self, html: str) -> None:
        self.shown.append(html)


def test_a_notebook_has_a_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell()
    fake = SimpleNamespace(HTML=str, display=cell.display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=fake))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    console = Console(file=io.StringIO(), force_jupyter=True)
    with display.progress(console) as observe:
        observe(Counts(documents=4))
        assert len(cell.shown) == 1
        observe(Counts(documents=4, answered=3, documents_done=1))
        clock.now += 0.1
        observe(Counts(documents=4, answered=4, documents_done=1))
        assert len(cell.shown) == 2, "no more than two messages a second"
        observe(Counts(documents=4, answered=9, failed=1, documents_done=4))
    assert cell.shown[1].startswith('<progress value="1" max="4"></progress> 1 of 4 documents, 3 items')
    assert cell.shown[2].startswith('<progress value="4" max="4"></progress> 4 of 4 documents')
