"""The job says what it has published, and a mistake is one sentence."""

import re
import sys
from pathlib import Path

import pytest

from jobs import publish
from pipeline.commit.delta_log import Change
from pipeline.commit.lease import Lease
from pipeline.commit.tables import OutputError, create_tables
from pipeline.publish import iceberg
from tests.pipeline.stored import answers_file

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """What a good command needs: an output with a row, and a catalog in a file."""
    tables = create_tables(str(tmp_path / "out"), None)
    with Lease(tables, "run") as lease:
        lease.commit("answers", Change(added=[answers_file(tables, "a")]))
    properties = ["--property", "type=sql", "--property", f"uri=sqlite:///{tmp_path}/catalog.db"]
    return [str(tmp_path / "out"), "--catalog", "here", *properties]


def test_it_prints_a_line_a_table(command: list[str], capsys: Captured) -> None:
    assert publish.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"answers/text: version \d+ is published as quire\.answers_text: 1 files added, 0 removed", lines[0]
    )
    assert [line.split(":")[0] for line in lines] == ["answers/text", "failures", "documents"]
    assert publish.main([*command, "--table", "answers/text"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(" is published as quire.answers_text already")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--property", "uri"], r"--property uri: it should read KEY=VALUE"),
        (["--table", "answers"], r"--table answers: .*/out has answers/text, documents, failures"),
        (["--property", "uri=sqlite:////nowhere/at/all.db"], r"the catalog here cannot be opened: .*unable"),
        (["--property", "type=none"], r"the catalog here cannot be opened: .*describe its type"),
        (["--property", "uri=postgresql://host/db"], r"the catalog here cannot be opened: .*sql-postgres"),
    ],
)
def test_a_mistake_is_one_sentence(
    command: list[str], capsys: Captured, flags: list[str], message: str
) -> None:
    assert publish.main([*command, *flags]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert re.match(f"error: {message}", printed.err)


def test_a_catalog_that_does_not_answer_may_come_back(command: list[str], capsys: Captured) -> None:
    flags = ["--property", "type=rest", "--property", "uri=http://127.0.0.1:1"]
    assert publish.main([*command, *flags]) == 1
    said = capsys.readouterr().err
    assert said.startswith("broken off: the catalog here cannot be opened: ")
    assert said.endswith("; the same command continues\n")


def test_a_catalog_that_nobody_describes_is_one_sentence(command: list[str], capsys: Captured) -> None:
    assert publish.main(command[:3]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the catalog here cannot be opened: ")
    assert said.count("\n") == 1


def test_a_place_without_an_output_is_one_sentence(command: list[str], capsys: Captured) -> None:
    assert publish.main(["/nowhere/out", *command[1:]]) == 2
    assert capsys.readouterr().err.startswith("error: there is no output of a run at /nowhere/out")


def test_the_extra_is_named_where_it_is_missing(
    command: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = [
        name for name in sys.modules if name.startswith(("pipeline.publish", "pipeline.ingest.catalogs"))
    ]
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("pipeline.publish")
    monkeypatch.delattr("pipeline.ingest.catalogs")
    monkeypatch.setitem(sys.modules, "pyiceberg", None)
    assert publish.main(command) == 2
    said = capsys.readouterr().err
    assert "pyiceberg" in said
    assert said.endswith("-m pip install '.[iceberg]'\n")


def test_a_conflict_breaks_it_off(
    command: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(*_: object) -> None:
        raise OutputError("quire.answers_text was changed")

    monkeypatch.setattr(iceberg, "_publish", overtaken)
    assert publish.main(command) == 1
    said = capsys.readouterr().err
    assert said == "broken off: quire.answers_text was changed; the same command continues\n"
