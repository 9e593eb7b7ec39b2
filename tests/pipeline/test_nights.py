"""Five nights of a scheduled run over a bucket that grows and changes, with what goes wrong at night.

Each morning the Iceberg tables that were published hold the rows of the Delta tables, each item of what lies
in the bucket stands there once, and the tables have few files. On two cores it takes four minutes.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from jobs import maintain, publish
from pipeline.commit.compaction import TARGET_BYTES
from pipeline.commit.manifest import read_begun, read_record
from pipeline.commit.tables import handle_of, paths_of, read_table
from pipeline.ingest.catalogs import opened
from pipeline.ingest.delta import address, storage_options
from tests.environment import without_ray
from tests.jobs.parrot import save_parrot
from tests.jobs.started import END_SECONDS, ROOT, left_of, wait_for_answers
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.s3 import Server

pytestmark = [pytest.mark.soak, pytest.mark.processes, pytest.mark.timeout(3000)]

PAUSE_SECONDS = 0.2
TABLES = ("answers/text", "failures", "documents")
CONFIG = """\
input: ["${BUCKET}/in"]
output: ${BUCKET}/out
model: ${MODEL}
question: What?
max-hours: 1
max-new-tokens: 8
"""


class House:
    """A bucket, the documents in it, and the command that runs every night."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.root = f"s3://{server.bucket}"
        self.output = f"{self.root}/out"
        self.pages: dict[str, int] = {}  # by document; 0: it cannot be opened
        self.catalog = {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db"}
        self._config = folder / "nightly.yaml"
        self._config.write_text(CONFIG)
        self._model = save_parrot(folder / "parrot", "Red")
        self._drawn = 0

    def put(self, name: str, pages: int) -> None:
        """A document that is new, or new again: no two pages are alike."""
        sizes = [(100 + (self._drawn + page) % 97, 100 + (self._drawn + page) // 97) for page in range(pages)]
        self._drawn += pages
        self.server.put(f"in/{name}", pdf_bytes(sizes) if pages else b"%PDF-1.7 broken")
        self.pages[name] = pages

    def start(self) -> "subprocess.Popen[str]":
        environment = without_ray() | {"BUCKET": self.root, "MODEL": str(self._model)}
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.extract", "--config", str(self._config)],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self) -> int:
        job = self.start()
        _, said = job.communicate(timeout=END_SECONDS)
        print(said)
        return job.returncode

    def files(self) -> dict[str, set[str]]:
        """Those of each table."""
        return {name: paths_of(handle_of(f"{self.output}/{name}")) for name in TABLES}

    def morning(self) -> None:
        """Maintains, publishes, and looks at all of it."""
        assert read_record(self.output)["ended"] == "complete"
        assert maintain.main([self.output]) == 0
        flags = [word for pair in self.catalog.items() for word in ("--property", "=".join(pair))]
        assert publish.main([self.output, "--catalog", "here", *flags]) == 0
        for name in TABLES:
            uri = f"{self.output}/{name}"
            delta = read_table(uri)
            with opened("here", self.catalog) as lake:
                scan = lake.load_table(f"quire.{name.replace('/', '_')}").scan()
                with scan.to_duckdb("published") as duckdb:
                    iceberg = duckdb.sql("SELECT * FROM published").to_arrow_table()
            key = "source_key" if name == "documents" else "item_key"
            here, there = (rows_of(table, key) for table in (delta, iceberg))
            assert here == there, name
            assert len({row[key] for row in here}) == len(here), f"{name}: a row is twice"
            sizes = handle_of(uri).get_add_actions()["size_bytes"].to_pylist()
            assert len(sizes) <= sum(sizes) / TARGET_BYTES + 8, name
        answered = rows_of(read_table(f"{self.output}/answers/text"), "item_key")
        failed = rows_of(read_table(f"{self.output}/failures"), "item_key")
        found = [(row["uri"].rpartition("/")[2], row["page_first"]) for row in (*answered, *failed)]
        expected: list[tuple[str, int | None]]
        expected = [(name, page) for name, pages in self.pages.items() for page in range(1, pages + 1)]
        expected += [(name, None) for name, pages in self.pages.items() if not pages]
        assert sorted(found, key=str) == sorted(expected, key=str)
        assert {row["answer"] for row in answered} == {"Red"}
        documents = read_table(f"{self.output}/documents", columns=["uri"])["uri"].to_pylist()
        assert sorted(uri.rpartition("/")[2] for uri in documents) == sorted(self.pages)


def rows_of(table: pa.Table, key: str) -> list[dict[str, Any]]:
    """The rows in the order of their key. What pyiceberg reads otherwise than it is, the same for both."""
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        if "fields" in row:  # a list of structs: where it is null, pyiceberg reads an empty one
            row["fields"] = row["fields"] or []
    return sorted(rows, key=lambda row: str(row[key]))


@pytest.fixture
def house(s3_server: Server, tmp_path: Path) -> House:
    return House(s3_server, tmp_path)


def optimize(output: str, end: threading.Event, done: list[int]) -> None:
    """What another tool does beside the run, several times a second."""
    while not end.wait(PAUSE_SECONDS):
        for name in TABLES:
            uri = f"{output}/{name}"
            try:
                found = DeltaTable(address(uri), storage_options=storage_options(uri)).optimize.compact()
            except (DeltaError, OSError):
                continue  # the run was faster
            done.append(found["numFilesRemoved"])


def test_five_nights(house: House) -> None:
    for number in range(8):
        house.put(f"first-{number}.pdf", 1 + number % 3)
    assert house.run() == 0
    house.morning()

    # The second night: new and changed documents, and a machine that dies.
    for number in range(30):
        house.put(f"second-{number}.pdf", 2)
    house.put("first-3.pdf", 4)
    house.put("broken.pdf", 0)
    job = house.start()
    wait_for_answers(job)
    came = psutil.Process(job.pid).children(recursive=True)
    os.kill(job.pid, signal.SIGKILL)
    job.communicate(timeout=END_SECONDS)
    for process in came:  # they die with their machine
        if process.is_running():
            process.kill()
    assert left_of(came) == []
    assert read_begun(house.output)["ended"] is None
    assert house.run() == 0
    house.morning()

    # The third: another tool rewrites the files all the time.
    for number in range(20):
        house.put(f"third-{number}.pdf", 2)
    house.put("second-5.pdf", 3)
    house.put("broken.pdf", 1)
    end, merged = threading.Event(), list[int]()
    other = threading.Thread(target=optimize, args=(house.output, end, merged))
    other.start()
    try:
        assert house.run() == 0
    finally:
        end.set()
        other.join()
    assert sum(merged) > 0
    house.morning()

    # The fourth: the bucket takes no files any more, and is back for the second try.
    for number in range(6):
        house.put(f"fourth-{number}.pdf", 2)
    house.server.fail(503, 1_000_000, "PUT", "answers/text/part-")
    assert house.run() == 1
    assert house.server.struck() > 0
    assert house.run() == 0
    house.morning()

    # The fifth is quiet; and so is the one after it, which has nothing to do.
    for number in range(4):
        house.put(f"fifth-{number}.pdf", 3)
    assert house.run() == 0
    house.morning()
    before = house.files()
    assert house.run() == 0
    assert read_record(house.output)["reused"]["documents"] == len(house.pages)
    assert house.files() == before
    house.morning()
