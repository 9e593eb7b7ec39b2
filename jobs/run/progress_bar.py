"""The progress of a run: one live line in a terminal, a bar in a notebook, else a plain line now and then."""

import html
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipeline.commit.document_progress import Counts

LINE_SECONDS = 5.0  # between plain lines
BAR_SECONDS = 0.5  # between two states of a notebook's bar: each is a message to the browser


class Observer(Protocol):
    """The function that `flow.run` calls whenever the counts have changed."""

    def __call__(self, counts: Counts) -> None: ...


@contextmanager
def progress(console: Console) -> Iterator[Observer]:
    """Shows the counts that it is called with."""
    speed = Speed()
    if console.is_jupyter:
        yield _notebook_bar(speed)
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
                if counts.answered + counts.failed:
                    bar.update(
                        task,
                        description=speed.line(counts),
                        completed=counts.documents_done,
                        total=counts.documents,
                    )

            yield draw
        return
    last = 0.0

    def write(counts: Counts) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_SECONDS or counts.documents_done == counts.documents:
            last = now
            console.print(speed.line(counts), highlight=False, soft_wrap=True)

    yield write


def _notebook_bar(speed: "Speed") -> Observer:
    """A bar below the cell. Not rich's, which wants ipywidgets."""
    from IPython.display import HTML, display  # a notebook has it

    shown = display(HTML("<progress></progress> starting: the model is loaded"), display_id=True)
    last = 0.0

    def draw(counts: Counts) -> None:
        nonlocal last
        now = time.monotonic()
        done = counts.documents_done == counts.documents
        if counts.answered + counts.failed and (done or now - last >= BAR_SECONDS):
            last = now
            bar = f'<progress value="{counts.documents_done}" max="{counts.documents}"></progress>'
            shown.update(HTML(f"{bar} {html.escape(speed.line(counts))}"))

    return draw


class Speed:
    """Pages a second and the time that is left, from the first result on: loading a model is no page."""

    def __init__(self) -> None:
        self._first: tuple[float, int, int] | None = None

    def line(self, counts: Counts) -> str:
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
        done = counts.answered + counts.failed
        if done and self._first is None:
            self._first = (time.monotonic(), counts.pages, done)
        if self._first:
            start, pages, items = self._first
            elapsed = time.monotonic() - start
            if elapsed > 1 and counts.pages > pages:
                parts.append(f"{(counts.pages - pages) / elapsed:.1f} pages/s")
            if elapsed > 1 and done > items and counts.documents_open:
                # Documents that are not opened yet are taken to have as many items as the others.
                expected = counts.expected * counts.documents / counts.documents_open
                parts.append(f"about {_clock((expected - done) * elapsed / (done - items))} left")
        return ", ".join(parts)


def _clock(seconds: float) -> str:
    """Example: 80 is 1:20, 4000 is 1:06:40."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
