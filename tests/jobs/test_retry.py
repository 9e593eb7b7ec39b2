"""What failed is asked again by cause, under the run's own settings; new rows replace the old ones."""

import json
from pathlib import Path

import pymupdf
import pytest

from jobs import extract, retry
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import read_table
from tests.jobs.parrot import save_parrot
from tests.pipeline.drawn import pdf_bytes

pytestmark = pytest.mark.processes

SECRET = "hunter2"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, one_cpu_ray: None) -> Path:
    """A run in which a document lacks its password, and another is broken."""
    folder = tmp_path_factory.mktemp("retry")
    (folder / "in").mkdir()
    locked = {"encryption": pymupdf.mupdf.PDF_ENCRYPT_AES_256, "user_pw": SECRET, "owner_pw": "o"}
    (folder / "in" / "locked.pdf").write_bytes(pdf_bytes([(100, 100)] * 2, **locked))
    (folder / "in" / "open.pdf").write_bytes(pdf_bytes())
    (folder / "in" / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    model = save_parrot(folder / "parrot", "Red")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        flags = f"--input in --output {folder / 'out'} --model {model} --question What?"
        assert extract.main(flags.split()) == 0
    return folder / "out"


def reasons(output: Path) -> list[tuple[str, str]]:
    rows = read_table(str(output / "failures")).to_pylist()
    return sorted((Path(row["uri"]).name, row["reason"]) for row in rows)


def test_a_cause_that_nothing_failed_for_is_a_mistake(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert retry.main([str(run), "--cause", "timeout"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --cause timeout: nothing failed for it in")
    assert "needs_password (1)" in said
    assert retry.main([str(run.parent)]) == 2
    assert "there is no run.json" in capsys.readouterr().err


def test_a_document_is_asked_once_its_password_is_known(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_record(str(run))
    assert len(reasons(run)) == 2
    assert (
        retry.main([str(run), "--cause", "needs_password", "--password", SECRET, "--page-timeout", "60"]) == 0
    )
    ((name, reason),) = reasons(run)
    assert (name, reason) != ("locked.pdf", "needs_password")
    answers = read_table(str(run / "answers" / "text")).to_pylist()
    assert sorted((Path(row["uri"]).name, row["page_first"]) for row in answers) == [
        ("locked.pdf", 1),
        ("locked.pdf", 2),
        ("open.pdf", 1),
    ]
    documents = read_table(str(run / "documents")).to_pylist()
    assert {Path(row["uri"]).name: row["status"] for row in documents} == {
        "broken.pdf": "failed",
        "locked.pdf": "complete",
        "open.pdf": "complete",
    }
    record = read_record(str(run))
    assert record["plan"] == before["plan"]
    assert record["config"]["limits"]["page_seconds"] == 60
    assert (record["counts"]["expected"], record["counts"]["answered"]) == (4, 3)
    written = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in data for data in written)
    assert SECRET not in json.dumps(record)


def test_where_nothing_failed_there_is_nothing_to_do(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = read_table(str(run / "failures"), ["reason"]).slice(0, 0)
    monkeypatch.setattr("pipeline.commit.tables.read_table", lambda *_: empty)
    assert retry.main([str(run)]) == 0
    assert "nothing has failed" in capsys.readouterr().out


@pytest.mark.parametrize("target", [None, "Invoice"])
def test_the_record_of_an_older_version_is_read(target: str | None) -> None:
    """It has one target or questions, and none of the settings that came later."""
    old = Path(__file__).parents[1] / "pipeline" / "commit" / "half_written" / "tables" / "run.json"
    record = json.loads(old.read_text())
    record["config"]["target"] = target
    config = retry._config(retry.make_parser().parse_args(["out"]), record)
    assert config.targets == ((target,) if target else ())
    assert [question.id for question in config.questions] == ([] if target else ["total", "when"])
    assert (config.stop, config.temperature, config.style, config.messages_column) == ((), 0.0, "short", None)
