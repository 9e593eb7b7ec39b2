"""The checks of this repository in two lanes that run at the same time: `make test`.

python -m tests.lanes [check]

One lane is tests that start processes and mostly wait for them, two at a time. The other is the static
checks, and then the tests that compute in pytest's own process. The marker `processes` decides, so that each
test is in one lane. A lane goes on after a check that failed. The first lane is shown as it runs; the other
one's output follows.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

ROOT = Path(__file__).parents[1]
OURS = "not soak and not gpu"  # `make soak` and a machine with a GPU have their own
COMPUTING, PROCESSES = f"{OURS} and not processes", f"{OURS} and processes"
STATIC = (
    ("-m", "ruff", "format", "--check", "."),
    ("-m", "ruff", "check", "."),
    ("-m", "mypy"),
    (f"{Path(sys.executable).parent}/lint-imports", "--no-logo"),
)


def tests(markers: str, name: str) -> tuple[str, ...]:
    """The command of a lane's tests, with a cache of its own: two would write over one another's."""
    return ("-m", "pytest", "-m", markers, "-o", f"cache_dir=.pytest_cache/{name}")


LONG = (  # what takes seconds of computing
    "tests/jobs/test_benchmark.py",
    "tests/model/engine/test_engine.py",
    "tests/model/executor",
    "tests/model/kernels",
    "tests/model/test_transformers.py",
    "tests/pipeline/commit/test_resume.py",
    "tests/pipeline/dedup/test_registry.py",
    "tests/pipeline/rasterize/test_fuzz.py",
    "tests/pipeline/test_decoding.py",
    "tests/test_nano.py",
    "tests/test_project.py",
)
CHECK = (*STATIC, (*tests(COMPUTING, "check"), "-n", "2", *(f"--ignore={path}" for path in LONG)))


IN_TURN = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")  # a file is one worker's


LONGEST = (  # minutes each: begun last, one of them would keep a worker while the other has nothing to do
    "tests/docs/test_commands.py",
    "tests/pipeline/infer/test_recovery.py",
    "tests/jobs/test_submit.py",
)


def starters() -> list[str]:
    """The files in which a test starts processes, in the order in which they are begun.

    Its lane need not import the others, once a worker.
    """
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    found = [str(path.relative_to(ROOT)) for path in files if "pytest.mark.processes" in path.read_text()]
    return [*LONGEST, *(path for path in found if path not in LONGEST)]


def lanes() -> dict[str, tuple[Sequence[str], ...]]:
    """The commands of each lane."""
    return {
        "computing": (*STATIC, tests(COMPUTING, "computing")),
        "processes": ((*tests(PROCESSES, "processes"), *IN_TURN, *starters()),),
    }


@dataclass
class Outcome:
    """What came of a lane."""

    failed: list[str]
    seconds: float = 0.0


def run(commands: Sequence[Sequence[str]], output: IO[str], outcome: Outcome) -> None:
    """Runs one command after the other, whatever comes of them."""
    started = time.monotonic()
    for command in commands:
        said = " ".join(command)
        print(f"$ python {said}", file=output, flush=True)
        done = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=output, stderr=output)
        if done.returncode:
            outcome.failed.append(said)
    outcome.seconds = time.monotonic() - started


def show(path: Path, lane: Thread) -> None:
    """Copies what a lane has said, and what it says until its end."""
    with path.open(errors="replace") as lines:
        while True:
            running = lane.is_alive()
            if text := lines.read():
                print(text, end="", flush=True)
            elif not running:
                return
            else:
                time.sleep(0.2)


def main() -> int:
    """Runs all lanes, or the quick checks; returns 1 if one has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.lanes", description=__doc__)
    parser.add_argument("lane", nargs="?", choices=["check"], help="the quick checks alone")
    chosen = {"check": CHECK} if parser.parse_args().lane else lanes()
    outcomes = {name: Outcome(failed=[]) for name in chosen}
    with tempfile.TemporaryDirectory(prefix="quire-lanes-") as folder, ExitStack() as files:
        threads = {}
        for name, commands in chosen.items():
            output = files.enter_context(Path(folder, name).open("w"))
            threads[name] = Thread(target=run, args=(commands, output, outcomes[name]))
            threads[name].start()
        for name, thread in threads.items():
            print(f"\n--- {name}", flush=True)
            show(Path(folder, name), thread)
    print()
    for name, outcome in outcomes.items():
        what = f"failed: {'; '.join(outcome.failed)}" if outcome.failed else "passed"
        print(f"{name}: {what}, in {outcome.seconds:.0f} s")
    return int(any(outcome.failed for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
