"""The Replica answers as the engine does alone, whatever the batch and whatever runs beside it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from model.checkpoint import load_model
from model.engine.reference import ReferenceEngine
from model.engine.request import Branch, Group
from pipeline.infer.replica import Replica
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.ingest.listing import list_sources
from pipeline.plan.rows import COMPLETION, COMPLETIONS, FAILED
from pipeline.stages import draw_groups, open_sources
from tests.pipeline.drawn import corner_image, image_bytes, pdf_bytes
from tests.pipeline.plans import plan_for


@pytest.fixture(scope="module")
def groups(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Windows of up to three pages of documents of several sizes, and a document that cannot be opened."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "a.pdf").write_bytes(pdf_bytes([(200, 300), (300, 200), (100, 100), (200, 200)]))
    (folder / "b.png").write_bytes(image_bytes(corner_image(100, 300), "PNG"))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    plan = plan_for(tiny_checkpoint, scope="document", max_pages=3)
    sources = list_sources([str(folder)])
    return pa.concat_tables(
        group for opened in open_sources(sources, plan) for group in draw_groups(opened, plan)
    )


@pytest.fixture(scope="module")
def replica(tiny_checkpoint: Path) -> Replica:
    threads = torch.get_num_threads()
    return Replica(ReplicaConfig(plan=plan_for(tiny_checkpoint), threads=threads, dtype="float32"))


def test_a_replica_answers_as_the_engine_does_alone(
    groups: pa.Table, replica: Replica, tiny_checkpoint: Path
) -> None:
    engine = ReferenceEngine(load_model(tiny_checkpoint, device="cpu", dtype=torch.float32), eos_id=2)
    rows = [row for row in groups.to_pylist() if row["kind"] == "group"]
    assert [(row["page_first"], row["page_last"]) for row in rows] == [(1, 3), (4, 4), (1, 1)]
    expected = []
    for row in rows:
        pixels, images = row["pixels"], []
        for height, width in zip(row["heights"], row["widths"], strict=True):
            size = height * width * 3
            images.append(np.frombuffer(pixels[:size], np.uint8).reshape(height, width, 3))
            pixels = pixels[size:]
        assert pixels == b""
        branches = [
            Branch(id=key, ids=ids, max_new_tokens=4)
            for key, ids in zip(row["item_keys"], row["branch_ids"], strict=True)
        ]
        engine.submit(
            Group(id="g", prefix_ids=row["prefix_ids"], images=images, branches=branches, max_side=128)
        )
        while engine.pending:
            expected += engine.step()
    found = [row for table in replica(groups) for row in table.to_pylist() if row["kind"] == COMPLETION]
    assert [(row["item_key"], row["token_ids"]) for row in found] == [(c.id, c.token_ids) for c in expected]
    assert any(row["token_ids"] for row in found)
    for row, completion in zip(found, expected, strict=True):
        assert row["logprobs"] == pytest.approx(completion.logprobs, abs=1e-5)
        assert row["finish_reason"] == completion.finish_reason
        assert (row["prompt_tokens"], row["cached_tokens"]) == (
            completion.prompt_tokens,
            completion.cached_tokens,
        )


def test_the_batch_does_not_change_the_answers(groups: pa.Table, replica: Replica) -> None:
    together = pa.concat_tables(replica(groups))
    alone = pa.concat_tables(
        table for index in range(groups.num_rows) for table in replica(groups.slice(index, 1))
    )
    columns = ["item_key", "token_ids", "page_first", "page_last", "question_id"]
    assert sorted(map(str, together.select(columns).to_pylist())) == sorted(
        map(str, alone.select(columns).to_pylist())
    )


def test_other_rows_pass_through_and_what_is_carried_arrives_once(groups: pa.Table, replica: Replica) -> None:
    completions = pa.concat_tables(replica(groups))
    assert completions.schema.equals(COMPLETIONS)
    (failed,) = (row for row in completions.to_pylist() if row["kind"] == FAILED)
    assert (failed["stage"], failed["document"]["items_expected"]) == ("open", 2)
    documents = [row["document"] for row in completions.to_pylist() if row["document"]]
    assert sorted((document["uri"][-5:], document["items_expected"]) for document in documents) == [
        ("a.pdf", 4),
        ("b.png", 2),
        ("n.pdf", 2),
    ]
    assert sum(seconds is not None for seconds in completions["generate_seconds"].to_pylist()) == 1


def test_a_call_is_answered_with_one_table(groups: pa.Table, replica: Replica) -> None:
    """Ray pickles each chunk of each column by itself: a table for each group costs it as much as a page."""
    tables = [table for table in replica(groups) if COMPLETION in table["kind"].to_pylist()]
    assert [table["kind"].num_chunks for table in tables] == [1]


def test_a_group_that_the_engine_refuses_fails_alone(groups: pa.Table, replica: Replica) -> None:
    rows = [row for row in groups.to_pylist() if row["kind"] == "group"]
    rows[1]["prefix_ids"] = rows[1]["prefix_ids"][:-1]  # an image token too few
    found = pa.concat_tables(replica(pa.Table.from_pylist(rows, schema=groups.schema))).to_pylist()
    reasons = [row["finish_reason"] for row in found]
    assert reasons[2:4] == ["error", "error"]
    assert "error" not in reasons[:2] + reasons[4:]
    assert "image tokens" in found[2]["error"]
