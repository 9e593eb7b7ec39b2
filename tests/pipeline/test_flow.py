"""What the driver does with results: commits them once, and records the run. Ray is in the job's tests."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import BaseModel, ConfigDict, Field

from pipeline import flow
from pipeline.commit import writer as writing
from pipeline.commit.document_progress import Counts, DocumentProgress
from pipeline.commit.lease import Lease
from pipeline.commit.manifest import read_record, versions, write_record
from pipeline.commit.merged_rows import MergedRows
from pipeline.commit.stale_rows import StaleRows
from pipeline.commit.tables import create_tables, read_table
from pipeline.commit.writer import Writer
from pipeline.config import FlowConfig, make_plan
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.ingest.listing import list_sources
from pipeline.ingest.sources import SOURCES
from pipeline.prepare import prepare
from pipeline.stages import draw_groups, open_sources, read_answers
from schemas.arrow import json_schema
from schemas.targets import Invoice, Question
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.local_replica import LocalReplica
from tests.pipeline.plans import QUESTIONS, plan_for


@pytest.fixture(scope="module")
def results(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[pa.Table]:
    """Of two good documents and a broken one, as the last stage yields them."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "a.pdf").write_bytes(pdf_bytes([(100, 100)] * 3))
    (folder / "b.pdf").write_bytes(pdf_bytes())
    (folder / "c.pdf").write_bytes(b"broken")
    plan = plan_for(tiny_checkpoint)
    replica = LocalReplica(ReplicaConfig(plan=plan, threads=1, dtype="float32"))
    return [
        read_answers(completion, plan)
        for opened in open_sources(list_sources([str(folder)]), plan)
        for group in draw_groups(opened, plan)
        for completion in replica(group)
    ]


def deliver(
    checkpoint: Path, results: list[pa.Table], output: Path, arriving: Iterator[pa.Table] | None = None
) -> DocumentProgress:
    """What flow.run does with each batch."""
    plan, tables = plan_for(checkpoint), create_tables(str(output), None)
    keys = pa.chunked_array([pc.unique(pa.concat_tables(results)["source_key"]).drop_null()])
    progress = DocumentProgress(plan, keys, Counts(documents=3))
    with Lease(tables, "run") as lease:
        stale_rows = StaleRows(plan, tables, {}, frozenset())
        with Writer(tables, lease, stale_rows, MergedRows(plan, tables)) as writer:
            for batch in arriving or results:
                writer.add(*progress.take(batch))
    return progress


def rows(output: Path) -> list[int]:
    return [read_table(str(output / name)).num_rows for name in ("answers/text", "failures", "documents")]


def test_what_ray_delivers_twice_is_committed_once(
    tiny_checkpoint: Path, results: list[pa.Table], tmp_path: Path
) -> None:
    progress = deliver(tiny_checkpoint, results, tmp_path / "once")
    progress.check()
    assert rows(tmp_path / "once") == [progress.counts.answered, progress.counts.failed, 3]
    assert progress.counts.expected == 10
    again = deliver(tiny_checkpoint, [*results[:2], *results, *reversed(results)], tmp_path / "twice")
    assert again.counts == progress.counts
    assert rows(tmp_path / "twice") == rows(tmp_path / "once")


def test_small_commits_give_the_same_rows(
    tiny_checkpoint: Path, results: list[pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(tiny_checkpoint, results, tmp_path / "one")
    monkeypatch.setattr(writing, "COMMIT_ROWS", 1)
    deliver(tiny_checkpoint, results, tmp_path / "many")
    assert rows(tmp_path / "many") == rows(tmp_path / "one")
    assert len(list((tmp_path / "many" / "answers" / "text").glob("*.parquet"))) > 1
    assert len(list((tmp_path / "one" / "answers" / "text").glob("*.parquet"))) == 1


def test_what_arrived_before_an_error_is_committed(
    tiny_checkpoint: Path, results: list[pa.Table], tmp_path: Path
) -> None:
    def breaks_off() -> Iterator[pa.Table]:
        yield results[0]
        raise RuntimeError("a worker died")

    with pytest.raises(RuntimeError, match="a worker died"):
        deliver(tiny_checkpoint, results, tmp_path, breaks_off())
    assert sum(rows(tmp_path)[:2]) == results[0].num_rows


def config(checkpoint: Path, **changes: object) -> FlowConfig:
    values = {"inputs": ("in",), "output": "out", "model": str(checkpoint), "questions": QUESTIONS}
    return FlowConfig(**values | changes)  # type: ignore[arg-type]  # values of all types


@pytest.mark.parametrize(
    "changes",
    [
        {"max_new_tokens": 5},
        {"max_side": 64},
        {"dtype": "float32"},
        {"cache_dtype": "fp8"},
        {"scope": "document"},
        {"scope": "document", "max_pages": 2},
        {"questions": (), "targets": ("Invoice",)},
        {"questions": (), "targets": ("Receipt",)},
    ],
)
def test_settings_that_shape_answers_change_their_key(
    tiny_checkpoint: Path, changes: dict[str, object]
) -> None:
    base = make_plan(config(tiny_checkpoint))
    assert make_plan(config(tiny_checkpoint, **changes)).settings_key != base.settings_key


@pytest.mark.parametrize(
    "changes",
    [
        {"questions": (Question(text="Another?"),)},
        {"batch_size": 7, "replicas": 2, "output": "elsewhere"},
        {"max_pages": 9},  # of scope document, and this is scope page
    ],
)
def test_settings_that_do_not_leave_their_key(tiny_checkpoint: Path, changes: dict[str, object]) -> None:
    base = make_plan(config(tiny_checkpoint))
    assert make_plan(config(tiny_checkpoint, **changes)).settings_key == base.settings_key


def test_how_a_target_is_decoded_is_part_of_its_key(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = {"questions": (), "targets": ("Invoice",)}
    free, base = make_plan(config(tiny_checkpoint)), make_plan(config(tiny_checkpoint, **target))
    assert free.asks[0].grammar is None
    assert base.asks[0].grammar == json.dumps(json_schema(Invoice, nullable=True), ensure_ascii=False)
    monkeypatch.setattr("pipeline.config.GRAMMAR_VERSION", -1)
    assert make_plan(config(tiny_checkpoint)).settings_key == free.settings_key
    assert make_plan(config(tiny_checkpoint, **target)).settings_key != base.settings_key


class Lookahead(BaseModel):
    code: str = Field(pattern="^(?=a)a")
    model_config = ConfigDict(regex_engine="python-re")


def test_a_target_that_cannot_be_decoded_is_refused_before_the_run(tiny_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="the JSON schema cannot be decoded"):
        make_plan(config(tiny_checkpoint, questions=(), targets=("tests.pipeline.test_flow:Lookahead",)))


def test_defaults_follow_the_target_and_the_model(tiny_checkpoint: Path) -> None:
    asked = make_plan(config(tiny_checkpoint))
    assert (asked.asks[0].scope, asked.max_side, asked.asks[0].max_new_tokens) == ("page", 128, 128)
    (target,) = make_plan(config(tiny_checkpoint, questions=(), targets=("Invoice",))).asks
    assert (target.scope, target.max_new_tokens, target.questions) == (
        "document",
        1024,
        (Question(id="Invoice", text="Invoice"),),
    )


def test_a_run_prepares_without_ray(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf_bytes())
    asked = config(tiny_checkpoint, inputs=(str(tmp_path),), output=str(tmp_path / "out"))
    with prepare(asked) as prepared:
        assert prepared.remaining.sources["uri"].to_pylist() == [str(tmp_path / "a.pdf")]
        assert rows(tmp_path / "out") == [0, 0, 0]
        with pytest.raises(ValueError, match="is being written by run"), prepare(asked):
            pytest.fail("two runs hold one output")
    with prepare(asked):
        pass  # the first one has left


def test_a_record_comes_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished run"):
        read_record(str(tmp_path))
    assert write_record(f"{tmp_path}/", {"who": "Köfte", "finished_at": "now"}) == f"{tmp_path}/run.json"
    assert read_record(str(tmp_path)) == {"who": "Köfte", "finished_at": "now"}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_versions_name_what_is_installed() -> None:
    found = versions()
    assert found["pyarrow"] == pa.__version__
    assert set(found) >= {"quire", "python", "ray", "torch", "deltalake", "pymupdf"}


@pytest.mark.parametrize(
    ("sizes", "blocks"),
    [
        ([1000] * 130, [60, 60, 10]),
        ([None] * 130, [3] * 43 + [1]),  # opened first, by many tasks
        ([2**30] * 130, [3] * 43 + [1]),
        ([1000] * 40 + [2**30] * 2 + [1000] * 20, [41, 1, 20]),
    ],
)
def test_a_task_is_given_many_small_documents_or_few_large_ones(
    tiny_checkpoint: Path, sizes: list[int | None], blocks: list[int]
) -> None:
    rows = [{"uri": str(number), "size": size} for number, size in enumerate(sizes)]
    sources = pa.Table.from_pylist(rows, schema=SOURCES)
    found = flow._blocks(sources, plan_for(tiny_checkpoint))
    assert [len(block) for block in found] == blocks
    assert pa.concat_tables(found).equals(sources)
