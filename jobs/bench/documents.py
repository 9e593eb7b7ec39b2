"""Documents a second of whole runs over PDFs of one page, without a model: an engine answers at once.

A run is the real one, jobs.extract in a process of its own: listing, Ray, sandboxes, drawing, a Replica's
calls, tables. No two pages are equal. --against measures another checkout of the repository on the same
documents, in turns. The seconds of a stage are summed over its tasks, which run side by side. Those of the
driver are what its process computed, with its start; `computed` are those of all processes of the run, which
tell more than documents a second where other work is on the machine.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any, Final

from jobs.bench.flags import new_parser
from jobs.bench.models import NANO
from jobs.bench.printing import print_json, print_table
from jobs.bench.process_memory import family
from jobs.bench.synthetic_corpus import write_pdfs
from jobs.run.ray_session import ROOT
from jobs.run.terminal import say

DRIVER: Final = Path(__file__).with_name("documents_driver.py")
LOOK_SECONDS: Final = 0.5  # between two looks at what processes have computed
QUESTION: Final = "Which number?"
STAGES: Final = ("list", "open", "rasterize", "idle", "write", "run")  # timings of run.json


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("documents", __doc__)
    parser.add_argument("--documents", type=int, default=20_000, help="of one page each")
    parser.add_argument("--max-side", type=int, default=1024, help="longest edge of a page in pixels")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each checkout, in turns")
    parser.add_argument(
        "--against", type=Path, help="folder of another checkout, measured in turns with this"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for this checkout, and one for the other."""
    for flag in ("documents", "rounds"):
        if (value := getattr(arguments, flag)) < 1:
            raise ValueError(f"--{flag} {value}: it must be at least 1")
    checkouts = {"this": ROOT}
    if arguments.against is not None:
        checkouts = {"other": checkout(arguments.against), **checkouts}
    with tempfile.TemporaryDirectory(prefix="quire-documents-") as name:
        folder = Path(name)
        write_pdfs(folder / "documents", repeat(1, arguments.documents))
        found: dict[str, list[dict[str, float]]] = {which: [] for which in checkouts}
        for number in range(arguments.rounds):
            for which, root in checkouts.items():
                output = folder / f"{which}-{number}"
                found[which].append(measure(root, folder / "documents", output, arguments.max_side))
                say(f"{which}: {json.dumps(found[which][-1])}")
    rows = [row(which, arguments.documents, runs) for which, runs in found.items()]
    for one in rows:
        one["times_other"] = round(one["documents_per_second"] / rows[0]["documents_per_second"], 2)
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    title = f"{arguments.documents:,} documents of one page, longest edge {arguments.max_side}, on {machine}"
    print_table(title, rows, left=("checkout",))
    settings = {name: getattr(arguments, name) for name in ("documents", "max_side", "rounds")}
    print_json("documents", rows, machine=machine, **settings)


def checkout(folder: Path) -> Path:
    """The folder, if it is a checkout of the repository. Raises ValueError."""
    if not (folder / "pipeline" / "flow.py").is_file():
        raise ValueError(f"--against {folder}: it holds no checkout of Quire (no pipeline/flow.py)")
    return folder.resolve()


def measure(root: Path, documents: Path, output: Path, max_side: int) -> dict[str, float]:
    """The seconds of a run of a checkout. Raises ValueError if it fails, or loses an item."""
    report = output.with_suffix(".json")
    flags: Mapping[str, object] = {
        "--input": documents,
        "--output": output,
        "--model": root / NANO,
        "--question": QUESTION,
        "--max-side": max_side,
    }
    # As its source, so that Ray takes what it defines to the workers, which need not find it.
    source = DRIVER.read_text() + "\nsys.exit(main(Path(sys.argv[1]), sys.argv[2:]))"
    command = [sys.executable, "-P", "-c", source, str(report)]
    command += [str(part) for flag in flags.items() for part in flag]
    # Ray's workers find the checkout by the same variable.
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL) as process:
        computed = _computed(process)
    if process.returncode:
        raise ValueError(f"the run of {root} ended with code {process.returncode}: see above")
    record = json.loads((output / "run.json").read_text())
    counts = record["counts"]
    if not counts["documents"] == counts["complete"] == counts["answered"]:
        raise ValueError(f"the run of {root} lost answers: {counts}")
    seconds = {name: record["timings"][f"{name}_seconds"] for name in STAGES}
    driver = json.loads(report.read_text())["driver_seconds"]
    seconds |= {"driver": driver, "computed": computed}
    return {name: round(value, 3) for name, value in seconds.items()}


def _computed(process: "subprocess.Popen[bytes]") -> float:
    """Waits for the end of a process; the seconds that it and its descendants computed until then."""
    ticks: dict[int, int] = {}
    while process.poll() is None:
        for pid, place in family(process.pid):
            with suppress(FileNotFoundError, ProcessLookupError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()  # man 5 proc, from the third
                ticks[pid] = int(fields[11]) + int(fields[12])
        time.sleep(LOOK_SECONDS)
    return sum(ticks.values()) / os.sysconf("SC_CLK_TCK")


def row(which: str, documents: int, runs: list[dict[str, float]]) -> dict[str, Any]:
    """A checkout's medians."""
    seconds = {name: median(one[name] for one in runs) for name in runs[0]}
    return {
        "checkout": which,
        "documents_per_second": round(documents / seconds["run"], 1),
        "computed_ms_a_document": round(1e3 * seconds["computed"] / documents, 2),
        "driver_ms_a_document": round(1e3 * seconds["driver"] / documents, 2),
        **{f"{name}_seconds": round(value, 2) for name, value in seconds.items()},
    }
