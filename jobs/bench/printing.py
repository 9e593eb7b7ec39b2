"""What a benchmark prints: a table for people, and one JSON line for scripts."""

import json
import platform
from collections.abc import Mapping, Sequence

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.run.terminal import shown

WIDTH = 140  # where the output is no terminal

Row = Mapping[str, object]


def machine(device: torch.device) -> str:
    """The hardware and the torch that were measured."""
    threads = f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name()
    return f"{platform.machine()}, {threads}, torch {torch.__version__}"


def print_table(title: str, rows: Sequence[Row], left: tuple[str, ...]) -> None:
    """A column for each name in the rows but `answers`; those in `left` begin at the left."""
    table = Table(title=Text(shown(title)))
    names = [name for name in rows[0] if name != "answers"]
    for name in names:
        table.add_column(name.replace("_", " "), justify="left" if name in left else "right")
    for row in rows:
        table.add_row(*[Text("" if row[name] is None else shown(str(row[name]))) for name in names])
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)


def print_json(benchmark: str, rows: Sequence[Row], **settings: object) -> None:
    """The last line."""
    print(json.dumps({"benchmark": benchmark, **settings, "rows": rows}))
