"""What runs come to in which one kind of process is killed, again and again, at random moments: a table.

python -m tests.pipeline.kills [--victims NAME ...] [--documents N] [--kills N] [--rounds N] [--seed N]

Each round is a run, or where the death ends it, the same command until it is done; then its tables are
compared with those of an undisturbed run over the same documents. Exit code 1 if a row is not as
it should be.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from model.checkpoint import save_model
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import read_table
from tests.model.tiny import tiny_pixtral
from tests.pipeline.clustered import two_nodes
from tests.pipeline.pile import write_pile
from tests.pipeline.victims import ROOT, Ended, Find, is_called, is_engine, is_sandbox, run

VICTIMS: dict[str, Find | None] = {
    "rasterizer": is_called("ray::MapBatches(draw_packs)", "ray::MapBatches(open_packs)"),
    "sandbox child": is_sandbox,
    "Replica": is_called("ray::MapWorker(MapBatches(Replica))"),
    "engine": is_engine,
    "writer": None,  # the driver, in a commit
    "driver": lambda process: "tests.pipeline.exact" in process.cmdline()[:3],
    "raylet": is_called("raylet"),
    "raylet of another node": None,  # these three in a cluster of two nodes
    "head, and the driver on it": None,
    "head, the driver elsewhere": None,
}
ENDS_THE_RUN = {"writer", "driver", "raylet", *(name for name in VICTIMS if name.startswith("head"))}
COUNTS = ("documents", "documents_done", "complete", "partial", "failed_documents", "expected")
HEAD = "| killed | kills | runs | documents | answered | failed | duplicated | lost | as undisturbed | left |"


@dataclass
class Result:
    """What the tables of an output say."""

    answers: dict[str, tuple[Any, ...]]  # by item
    failures: dict[str, tuple[Any, ...]]
    documents: dict[str, tuple[Any, ...]]
    counts: dict[str, int]
    rows: int  # of answers and failures


@dataclass
class Row:
    """A row of the table: all rounds of a victim."""

    victim: str
    kills: int = 0
    runs: int = 0
    documents: int = 0
    answered: int = 0
    failed: int = 0
    duplicated: int = 0
    lost: int = 0
    equal: bool = True
    left: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.equal and not (self.duplicated or self.lost or self.left) and self.kills > 0

    def __str__(self) -> str:
        numbers = (self.kills, self.runs, self.documents, self.answered, self.failed, self.duplicated)
        cells = [self.victim, *numbers, self.lost, "yes" if self.equal else "NO", ", ".join(self.left) or 0]
        return f"| {' | '.join(map(str, cells))} |"


class Trial:
    """Documents, a model, and the result of an undisturbed run."""

    def __init__(self, folder: Path, documents: int) -> None:
        self._folder = folder
        self._documents = write_pile(folder / "in", documents)
        save_model(tiny_pixtral(vocab_size=3048), folder / "tiny")
        shutil.copy(ROOT / "model" / "nano" / "tekken.json", folder / "tiny")
        done = self._run(folder / "undisturbed")
        assert done.code == 0, done.said
        self._seconds = read_record(str(folder / "undisturbed"))["timings"]["run_seconds"]
        self._expected = result(folder / "undisturbed")

    def row(self, victim: str, rounds: int, kills: int, seed: int) -> Row:
        """The row of a victim."""
        row = Row(victim)
        for number in range(rounds):
            output = self._folder / f"{victim.replace(' ', '_')}-{number}"
            self._round(output, row, kills, Random(f"{victim} {seed + number}"))
            self._judge(result(output), row)
        return row

    def _round(self, output: Path, row: Row, kills: int, chance: Random) -> None:
        victim, left = VICTIMS[row.victim], kills
        while True:
            environment, delays = dict[str, str](), list[float]()
            if row.victim == "writer" and left:
                environment["QUIRE_DIE_IN_COMMIT"] = str(chance.random())
            elif row.victim in ENDS_THE_RUN:  # it needs some time until there is something to lose
                delays = [chance.uniform(0.3, 1) * self._seconds] if left else []
            else:
                delays = [chance.uniform(0, 2 * self._seconds / kills) for _ in range(kills)]
            if row.victim in list(VICTIMS)[-3:]:
                done = self._run_in_cluster(output, row.victim, delays, chance)
            else:
                done = self._run(output, environment, victim, delays, chance)
            died = done.killed or (row.victim == "writer" and done.code == -9)
            left -= bool(died)
            row.kills += done.killed or bool(died)
            row.runs += 1
            row.left += done.left
            print(f"{row.victim}: {done.killed} killed, exit code {done.code}", file=sys.stderr, flush=True)
            if done.code == 0:
                return
            assert row.victim in ENDS_THE_RUN, done.said
            assert died, done.said
            if row.victim not in ("writer", "driver"):
                broken_off = done.code == 1 and (
                    "broken off: Ray" in done.said or "ended by Ray" in done.said
                )
                too_early = done.code == 2 and "no Ray answers there" in done.said  # it had not connected yet
                assert broken_off or too_early, done.said

    def _run_in_cluster(self, output: Path, victim: str, delays: Sequence[float], chance: Random) -> Ended:
        with two_nodes(away=victim == "head, the driver elsewhere") as nodes:
            head = victim.startswith("head")
            find, after = (
                (nodes.is_head, nodes.kill_head) if head else (nodes.is_worker, nodes.replace_worker)
            )
            return self._run(output, nodes.environment, find, delays, chance, after)

    def _run(
        self,
        output: Path,
        environment: dict[str, str] | None = None,
        victim: Find | None = None,
        delays: Sequence[float] = (),
        chance: Random | None = None,
        after: Callable[[], None] | None = None,
    ) -> Ended:
        flags = f"--input {self._documents} --output {output} --model {self._folder / 'tiny'}"
        command = [sys.executable, "-m", "tests.pipeline.exact", *flags.split()]
        command += ["--question", "What is the total?", "--question", "When?", "--max-new-tokens", "16"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "QUIRE_"))}
        clean |= {"RAY_worker_niceness": "0"}  # else a busy machine leaves Ray's workers next to nothing
        clean |= environment or {}
        while True:
            done = run(command, clean, victim, delays, chance, after)
            if done.killed or "timed out during startup" not in done.said:  # Ray gives itself 30 s
                return done

    def _judge(self, found: Result, row: Row) -> None:
        expected = self._expected
        items = expected.answers | expected.failures
        row.documents += len(found.documents)
        row.answered += len(found.answers)
        row.failed += len(found.failures)
        row.duplicated += found.rows - len(found.answers | found.failures)
        row.lost += len(items.keys() - (found.answers | found.failures).keys())
        found.rows = expected.rows  # counted above
        row.equal &= found == expected


def result(output: Path) -> Result:
    """The result of a finished run."""
    answers = read_table(str(output / "answers" / "text")).to_pylist()
    failures = read_table(str(output / "failures")).to_pylist()
    documents = read_table(str(output / "documents")).to_pylist()
    assert len(documents) == len({row["source_key"] for row in documents})
    names = ("raw_text", "output_tokens", "prompt_tokens", "finish_reason")
    counts = ("status", "page_count", "items_expected", "items_answered", "items_failed")
    recorded = read_record(str(output))["counts"]
    return Result(
        answers={row["item_key"]: tuple(row[name] for name in names) for row in answers},
        failures={row["item_key"]: (row["stage"], row["reason"], row["message"]) for row in failures},
        documents={row["uri"]: tuple(row[name] for name in counts) for row in documents},
        counts={name: recorded[name] for name in (*COUNTS, "answered", "failed")},
        rows=len(answers) + len(failures),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.pipeline.kills", description=__doc__)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=list(VICTIMS))
    for name, default in (("documents", 40), ("kills", 4), ("rounds", 1), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="quire-kills-") as folder:
        trial = Trial(Path(folder), given.documents)
        print(f"{HEAD}\n|{' --- |' * (HEAD.count('|') - 1)}", flush=True)
        good = True
        for victim in given.victims:
            row = trial.row(victim, given.rounds, given.kills, given.seed)
            good &= row.good
            print(row, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
