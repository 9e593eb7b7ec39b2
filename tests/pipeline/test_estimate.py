"""What a dry run says is what a run does; it takes no lease and writes nothing."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from PIL import Image

from pipeline import estimate as estimating
from pipeline.config import FlowConfig
from pipeline.estimate import Estimate, estimate
from tests.pipeline.drawn import image_bytes, pdf_bytes
from tests.pipeline.ingest.listed import parquet
from tests.pipeline.local import Machine
from tests.pipeline.mails import mail
from tests.pipeline.plans import QUESTIONS
from tests.web import web


@pytest.fixture
def machine(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)


def expected(machine: Machine, folder: Path, **changes: Any) -> Estimate:
    _, found = estimate(FlowConfig(inputs=(str(folder),), **machine._values | changes))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.pdf").write_bytes(pdf_bytes([(100 + number, 100 + 10 * number)] * (number + 1)))
    return folder


def test_pages_items_and_tokens_are_those_of_the_run(machine: Machine, folder: Path, tmp_path: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    asked: dict[str, Any] = {"questions": QUESTIONS[:1]}
    found = expected(machine, folder, **asked)
    assert not (tmp_path / "out").exists()
    record = machine.run(folder, **asked)
    assert (found.listed, found.left, found.sampled, found.failing) == (5, 5, 5, 1)
    assert found.pages.total == found.drawn == record["counts"]["pages"] == 10
    assert found.items.total == record["counts"]["expected"] == 11
    rows = machine.rows("answers/text")
    assert found.prompt_tokens.total == sum(row["prompt_tokens"] for row in rows)
    assert not found.answers_known
    assert found.answer_tokens.total == 10 * 4  # --max-new-tokens of these runs
    assert {amount.margin for amount in (found.pages, found.items, found.prompt_tokens)} == {0.0}


def test_what_the_output_holds_is_not_counted_and_says_how_long_answers_are(
    machine: Machine, folder: Path, tmp_path: Path
) -> None:
    machine.run(folder)
    assert expected(machine, folder).left == 0
    (folder / "new.pdf").write_bytes(pdf_bytes([(150, 90)] * 2))
    held = machine.prepare(folder)  # another run has the output
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    found = expected(machine, folder)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    assert (found.listed, found.left, found.pages.total, found.items.total) == (5, 1, 2, 4)
    assert found.answers_known
    written = [row["output_tokens"] for row in machine.rows("answers/text") if row["shared_from"] is None]
    assert found.answer_tokens.total == pytest.approx(4 * sum(written) / len(written))
    machine.carry_out(held)


def test_a_sample_s_interval_holds_the_truth(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    sizes = [1 + (number * 7) % 5 for number in range(60)]
    for number, pages in enumerate(sizes):
        (folder / f"{number:02}.pdf").write_bytes(pdf_bytes([(100, 100 + number % 3)] * pages))
    monkeypatch.setattr(estimating, "SAMPLE", 15)
    found = expected(machine, folder)
    assert (found.listed, found.left, found.sampled) == (60, 60, 15)
    assert 0 < found.pages.margin < found.pages.total / 2
    assert abs(found.pages.total - sum(sizes)) <= found.pages.margin
    assert found.items.total == found.pages.total * len(QUESTIONS)


def test_a_long_document_is_drawn_in_part(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    (folder / "long.pdf").write_bytes(pdf_bytes([(100, 100)] * 50))
    found = expected(machine, folder)
    assert (found.pages.total, found.drawn) == (50, 16)
    assert found.prompt_tokens.total % 50 == 0
    windows: dict[str, Any] = {"questions": QUESTIONS[:1], "scope": "document"}
    found = expected(machine, folder, **windows, max_pages=20)
    assert (found.pages.total, found.drawn, found.items.total) == (50, 20, 3)
    found = expected(machine, folder, **windows, max_pages=6)
    assert (found.pages.total, found.drawn, found.items.total) == (50, 12, 9)


def test_attachments_are_counted_as_the_run_counts_them(machine: Machine, folder: Path) -> None:
    (folder / "a.eml").write_bytes(bytes(mail(scan_pdf=pdf_bytes([(100, 100)] * 3))))
    found = expected(machine, folder)
    counts = machine.run(folder)["counts"]
    assert (found.listed, found.pages.total) == (counts["documents"], counts["pages"]) == (6, 14)


def test_documents_on_the_web_are_sampled_where_that_is_allowed(machine: Machine, folder: Path) -> None:
    with web(folder) as server:
        site = f"http://127.0.0.1:{server.server_port}"
        table = parquet(folder / "list.parquet", url=[f"{site}/{name}.pdf" for name in (1, 2)])
        with pytest.raises(ValueError, match="to fetch it, give --allow-http"):
            expected(machine, Path(table), column="url")
        allowed = {"column": "url", "allow_http": True, "allow_hosts": ("127.0.0.1",)}
        found = expected(machine, Path(table), **allowed)
    assert (found.listed, found.pages.total, found.failing) == (2, 5, 0)


def test_only_new_rows_of_a_table_count_with_since_last_run(
    machine: Machine, folder: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"column": "page", "since_last_run": True}
    pages = [image_bytes(Image.new("RGB", (16, 16), (id, id, id)), "PNG") for id in range(3)]
    write_deltalake(str(tmp_path / "t"), pa.table({"page": pages[:2]}))
    assert expected(machine, tmp_path / "t", **asked).listed == 2
    machine.run(tmp_path / "t", **asked)
    assert expected(machine, tmp_path / "t", **asked).listed == 0
    write_deltalake(str(tmp_path / "t"), pa.table({"page": pages[2:]}), mode="append")
    assert expected(machine, tmp_path / "t", **asked).listed == 1
    with pytest.raises(ValueError, match="no input is one"):
        expected(machine, folder, since_last_run=True)


def test_an_output_that_cannot_be_read_is_a_sentence(machine: Machine, folder: Path, tmp_path: Path) -> None:
    machine.run(folder)
    for file in (tmp_path / "out" / "answers" / "text").glob("*.parquet"):
        file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        expected(machine, folder)


@pytest.mark.parametrize(
    ("values", "documents", "margin"),
    [([2.0, 2.0, 2.0], 9, 0), ([1.0, 3.0], 2, 0), ([5.0], 7, 0), ([1.0, 3.0], 8, 8 * 1.96 * 0.75**0.5)],
)
def test_a_margin_follows_from_the_spread_and_the_share_that_was_seen(
    values: list[float], documents: int, margin: float
) -> None:
    amount = estimating._amount(values, documents)
    assert amount.total == documents * sum(values) / len(values)
    assert amount.margin == pytest.approx(margin)
