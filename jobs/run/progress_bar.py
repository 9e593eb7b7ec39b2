"""The progress of a run: one live line in a terminal, a bar in a notebook, else a plain line now and then,
or an event of JSON."""

import html
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jobs.run.terminal import is_json, say_event
from pipeline.commit.document_progress import Counts
from pipeline.commit.pace import Pace

LINE_SECONDS = 5.0  # between plain lines
BAR_SECONDS = 0.5  # between two states of a notebook's bar: each is a message to the browser


class Observer(Protocol):
    """The function that `flow.run` calls whenever the counts have changed."""

    def __call__(self, counts: Counts) -> None: ...


def both(first: Observer, second: Observer) -> Observer:
    """One that calls two."""

    def observe(counts: Counts) -> None:
        first(counts)
        second(counts)

    return observe


@contextmanager
def progress(console: Console) -> Iterator[Observer]:
    """Shows the counts that it is called with."""
    pace = Pace()
    if is_json():
        yield _now_and_then(pace, _say_progress(pace))
        return
    if console.is_jupyter:
        yield _notebook_bar(pace)
        return
    if console.is_terminal:
        columns = (
            SpinnerColumn(),
            BarColumn(bar_width=30),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("starting: the first pages come when the model is loaded", total=None)

            def draw(counts: Counts) -> None:
                pace.look(counts)
                if counts.answered + counts.failed:
                    bar.update(
                        task,
                        description=line_of(counts, pace),
                        completed=counts.documents_done,
                        total=counts.documents,
                    )

            yield draw
        return
    yield _now_and_then(
        pace, lambda counts: console.print(line_of(counts, pace), highlight=False, soft_wrap=True)
    )


def _now_and_then(pace: Pace, show: Observer) -> Observer:
    """One that calls another once every few seconds, and at the end."""
    last = 0.0

    def observe(counts: Counts) -> None:
        nonlocal last
        pace.look(counts)
        now = time.monotonic()
        if now - last >= LINE_SECONDS or counts.documents_done == counts.documents:
            last = now
            show(counts)

    return observe


def _say_progress(pace: Pace) -> Observer:
    """An event of JSON."""

    def say(counts: Counts) -> None:
        facts = asdict(counts) | {"pages_per_second": pace.pages_per_second}
        say_event("progress", **facts, seconds_left=pace.seconds_left)

    return say


def _notebook_bar(pace: Pace) -> Observer:
    """A bar below the cell. Not rich's, which wants ipywidgets."""
    from IPython.display import HTML, display  # a notebook has it

    shown = display(HTML("<progress></progress> starting: the model is loaded"), display_id=True)
    last = 0.0

    def draw(counts: Counts) -> None:
        nonlocal last
        pace.look(counts)
        now = time.monotonic()
        done = counts.documents_done == counts.documents
        if counts.answered + counts.failed and (done or now - last >= BAR_SECONDS):
            last = now
            bar = f'<progress value="{counts.documents_done}" max="{counts.documents}"></progress>'
            shown.update(HTML(f"{bar} {html.escape(line_of(counts, pace))}"))

    return draw


def line_of(counts: Counts, pace: Pace) -> str:
    """One line.

    Example: 12 of 40 documents, 96 items answered, 1 failed, 2.1 pages/s, about 1:20 left
    """
    parts = [
        f"{counts.documents_done:,} of {counts.documents:,} documents",
        f"{counts.answered:,} items answered",
        f"{counts.failed:,} failed",
    ]
    if counts.shared:
        parts.append(f"{counts.shared:,} of them shared")
    if pace.pages_per_second is not None:
        parts.append(f"{pace.pages_per_second:.1f} pages/s")
    if pace.seconds_left is not None:
        parts.append(f"about {_clock(pace.seconds_left)} left")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    """Example: 80 is 1:20, 4000 is 1:06:40."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
