"""Keep the tables of an output in shape: fewer files, a short log, and no files that nobody needs.

A run commits a small file every half a minute. This merges them into larger ones, with statistics by which
readers skip files, sums up the log in a checkpoint, and removes files and entries of the log that are older
than the retention. The rows stay as they are.
"""

import logging
import sys
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Printed

from jobs.run.endings import ended
from jobs.run.parser import Parser
from jobs.run.terminal import shown, start_output
from pipeline.plan.limits import MIB

if TYPE_CHECKING:
    from pipeline.commit.maintenance import TableSize

TARGET_MIB, RETENTION_HOURS = 32, 168  # as in pipeline.commit.maintenance, which --help does not import
WIDTH = 120  # of the table, where it is not printed to a terminal
EPILOG = """\
examples:
  # what there would be to do
  python -m jobs.maintain out/scans --dry-run

  # once a day, when no run is at work
  python -m jobs.maintain out/scans

  # removed files stay for a month, for readers of older versions
  python -m jobs.maintain out/scans --retention 720

rules:
  One job at a time writes to an output: while a run is at work, this is refused, and the other way round.
  jobs.extract --maintain-every N merges files during a long run.
  What a crash cut is done by the next time. The log keeps a week at least.

exit code:
  0 done, 1 broke off (the same command continues), 130 stopped, 2 a mistake, and nothing was changed
"""


def make_parser() -> Parser:
    """All flags of the job."""
    parser = Parser("maintain", description=__doc__, epilog=EPILOG)
    parser.add_argument("output", metavar="OUT", help="the --output of runs")
    parser.add_argument(
        "--target-size",
        type=int,
        default=TARGET_MIB,
        metavar="MIB",
        help="size of the files into which smaller ones are merged (default: %(default)s)",
    )
    parser.add_argument(
        "--retention",
        type=int,
        default=RETENTION_HOURS,
        metavar="HOURS",
        help="for which removed files stay, for readers at work and for time travel (default: %(default)s)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="accept a --retention that is shorter than Delta's own of a week: older versions are lost",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="change nothing, and print what there is to do"
    )
    return parser


def maintain(
    output: str,
    *,
    target_size: int = TARGET_MIB,
    retention: int = RETENTION_HOURS,
    force: bool = False,
    dry_run: bool = False,
) -> Printed:
    """Maintains all tables of an output; returns what they were and are, for people.

    `target_size` is in MiB, `retention` in hours. Raises ValueError for a mistake, in one sentence, and
    OutputError if the tables cannot be written any more.
    """
    from pipeline.commit.lease import Lease
    from pipeline.commit.maintenance import Upkeep, find_tables, removable, size_of
    from pipeline.commit.maintenance import maintain as do
    from pipeline.commit.manifest import check_reachable

    upkeep = Upkeep(target_size=target_size * MIB, retention_hours=retention, force=force)
    check_reachable(output)
    tables = find_tables(output)
    ready = {name: removable(table, upkeep) for name, table in tables.items()}
    before = {name: size_of(table, upkeep) for name, table in tables.items()}
    if dry_run:
        return _planned(before, ready)
    run_id = f"maintain-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    with Lease(tables, run_id) as lease:
        do(lease, tables, upkeep)
    return _compared(before, {name: size_of(table, upkeep) for name, table in tables.items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    start_output(logging.WARNING)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    return ended(lambda: console.print(maintain(**vars(make_parser().parse_args(arguments)))))


def _planned(sizes: Mapping[str, "TableSize"], ready: Mapping[str, int]) -> Printed:
    table = _printed(
        "table", "files", "below the target", "MiB", "unused", "MiB", "to remove now", "log", "MiB"
    )
    for name, size in sizes.items():
        table.add_row(
            shown(name),
            f"{size.files:,}",
            f"{size.small:,}",
            _mib(size.size),
            f"{size.unused:,}",
            _mib(size.unused_size),
            f"{ready[name]:,}",
            f"{size.log_files:,}",
            _mib(size.log_size),
        )
    return table


def _compared(before: Mapping[str, "TableSize"], after: Mapping[str, "TableSize"]) -> Printed:
    table = _printed("table", "files", "MiB", "unused files", "MiB", "log files", "MiB")
    for name, was in before.items():
        now = after[name]
        table.add_row(
            shown(name),
            f"{was.files:,} > {now.files:,}",
            f"{_mib(was.size)} > {_mib(now.size)}",
            f"{was.unused:,} > {now.unused:,}",
            f"{_mib(was.unused_size)} > {_mib(now.unused_size)}",
            f"{was.log_files:,} > {now.log_files:,}",
            f"{_mib(was.log_size)} > {_mib(now.log_size)}",
        )
    return table


def _printed(*columns: str) -> Printed:
    table = Printed(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "table" else "right", no_wrap=True)
    return table


def _mib(size: int) -> str:
    return f"{size / MIB:,.2f}"


if __name__ == "__main__":
    sys.exit(main())
