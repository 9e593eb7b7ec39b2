"""The flow: documents -> pages -> prompts -> batches -> answers -> tables, chained on Ray Data.

In: a prepared run and a connected Ray. Out: committed tables, and run.json at the end. The driver sees every
result row: it drops a row that Ray delivered twice, knows when a document is done, and commits. Rows that the
output holds already are not made again. The stages themselves are in `stages` and `infer.replica`.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from pipeline.backpressure import bound_drawing
from pipeline.cancellation import is_stopping
from pipeline.commit.document_progress import Counts, DocumentProgress
from pipeline.commit.manifest import write_record
from pipeline.commit.tables import answers_of
from pipeline.commit.writer import Writer
from pipeline.dedup.registry import Claim, SharedRegistry
from pipeline.dedup.resolver import Resolver
from pipeline.infer.placement import Placement
from pipeline.infer.placement_groups import remove_groups
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.ingest.listing import split
from pipeline.opening import drawn_at_once
from pipeline.passwords import handed_over
from pipeline.plan.parcels import unpack
from pipeline.plan.plan import Plan
from pipeline.plan.rows import PACK_PAGES, SECONDS, result_schema
from pipeline.prepare import Prepared, describe
from pipeline.stages import Replica, draw_packs, open_packs

# One task opens the large documents of a block, and yields one row of facts about them (DOCUMENTS). The row
# takes a place in a call of a Replica: with a block for each document, a run over documents of one page would
# fill half of the places with such rows. Up to BLOCKS documents they do no harm: they fit in the calls that a
# Replica on a GPU works on at a time. Opening is cheap beside drawing, and pages are drawn by tasks of their
# own: 64 blocks are enough for many CPUs.
BLOCKS = 64
BLOCK_DOCUMENTS = 64  # at most, so that a task that Ray repeats is short
# Documents that the tasks that draw open are handed on unread: as many as fill some packs.
SMALL_DOCUMENTS = 4 * PACK_PAGES


def results(prepared: Prepared, placement: Placement, plan: Plan, claim: Claim) -> ray.data.Dataset:
    """The stages, lazily, with this plan. Their tasks claim prompts, so that identical ones are asked once.

    One task, or one call of a Replica, works on one block: `repartition` says how many rows a block has. All
    rows are parcels: between opening and drawing of what one task draws, then of a prompt, at the end of the
    results of a call.
    """
    documents = ray.data.from_arrow(_blocks(prepared.remaining.sources, plan))
    pages = documents.map_batches(
        partial(open_packs, plan=plan, claim=claim), batch_format="pyarrow"
    ).repartition(target_num_rows_per_block=1)
    prompts = pages.map_batches(
        partial(draw_packs, plan=plan, claim=claim), batch_format="pyarrow"
    ).repartition(target_num_rows_per_block=placement.batch_size)
    return prompts.map_batches(
        Replica,
        fn_constructor_args=(_replica_config(prepared, placement, plan),),
        compute=ray.data.ActorPoolStrategy(
            min_size=placement.ready,
            max_size=placement.replicas,
            max_concurrent_calls_per_actor=placement.calls,
            max_tasks_in_flight_per_actor=placement.calls + 1,  # the next batch is fetched in advance
            enable_true_multi_threading=True,  # the calls wait, and one thread steps the engine
        ),
        num_cpus=0,  # the CPUs are for the other stages: even with a single CPU, one of them can run
        num_gpus=placement.gpus if placement.tensor_parallel == 1 else 0,  # ranks have their own
        batch_size=placement.batch_size,
        batch_format="pyarrow",
    )


def _blocks(sources: pa.Table, plan: Plan) -> list[pa.Table]:
    large = max(1, min(BLOCK_DOCUMENTS, -(-sources.num_rows // BLOCKS)))
    weights = (
        large if is_small else SMALL_DOCUMENTS
        for chunk in drawn_at_once(sources, plan).chunks
        for is_small in chunk.to_numpy(zero_copy_only=False)
    )
    return split(sources, large * SMALL_DOCUMENTS, weights)


def _replica_config(prepared: Prepared, placement: Placement, plan: Plan) -> ReplicaConfig:
    return ReplicaConfig(
        plan=plan,
        tensor_parallel=placement.tensor_parallel,
        gpus=placement.gpus,
        threads=placement.threads,
        dtype=prepared.config.dtype,
        cache_dtype=prepared.config.cache_dtype,
        max_num_seqs=prepared.config.max_num_seqs,
        max_model_len=prepared.config.max_model_len,
    )


def _batches(prepared: Prepared, placement: Placement, plan: Plan, claim: Claim) -> Iterable[Any]:
    """Runs the stages; their result rows as they come."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # `observe` shows the progress of the items
    # A pool that may grow does so once all of its Replicas have as many calls as they work on at a time.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
    bound_drawing(context)
    # Without prefetching, which holds every batch back until the next one is there.
    batches: Iterable[Any] = results(prepared, placement, plan, claim).iter_batches(
        batch_size=None, batch_format="pyarrow", prefetch_batches=0
    )
    schema = result_schema(*(ask.model for ask in plan.asks))
    return (unpack(batch, schema) for batch in batches)


@contextmanager
def _resolved(
    prepared: Prepared, placement: Placement | None, resolver: Resolver
) -> Iterator[Iterable[pa.Table]]:
    """The result rows of the items that are asked, and of those that share their answers."""
    if placement is None:
        yield ()
        return
    with closing(SharedRegistry()) as registry, handed_over(prepared.plan) as plan:
        resolver.seed(registry.note)
        yield _with_shared(_batches(prepared, placement, plan, registry.claim), resolver, plan.run_id)


def _with_shared(batches: Iterable[pa.Table], resolver: Resolver, run_id: str) -> Iterator[pa.Table]:
    for batch in batches:
        yield resolver.resolve(batch)
    if not is_stopping(run_id):
        yield resolver.rest()


def run(prepared: Prepared, placement: Placement | None, observe: Callable[[Counts], None]) -> dict[str, Any]:
    """Runs to the end, or until it was asked to stop: then the record has no `finished_at`. Returns run.json.

    `observe` is called whenever the counts have changed. `placement` is None where nothing is left to do.
    """
    started_at, started = datetime.now(UTC), time.perf_counter()
    plan, remaining = prepared.plan, prepared.remaining
    before = replace(remaining.counts)
    progress = DocumentProgress(plan, remaining.sources["source_key"], remaining.counts)
    seconds = dict.fromkeys(SECONDS, 0.0)
    fleet = asdict(placement) if placement else None
    record = describe(prepared, fleet) | {"started_at": started_at.isoformat(), "finished_at": None}
    write_record(prepared.config.output, record)
    resolver = Resolver(plan, answers_of(prepared.tables))
    stale_rows, merged_rows = remaining.stale_rows, remaining.merged_rows
    with (
        Writer(
            prepared.tables,
            prepared.lease,
            stale_rows,
            merged_rows,
            maintain_every=prepared.config.maintain_every,
            committed=resolver.committed,
        ) as writer,
        _resolved(prepared, placement, resolver) as batches,
    ):
        writer.merge_done(remaining.unmerged)
        observe(progress.counts)
        for batch in batches:
            for name in SECONDS:
                seconds[name] += pc.sum(batch[name]).as_py() or 0.0
            writer.add(*progress.take(batch))
            observe(progress.counts)
    if placement and placement.tensor_parallel > 1:
        remove_groups(plan.run_id, patience=10)
    if is_stopping(plan.run_id) and progress.counts.documents_done < progress.counts.documents:
        return record
    progress.check()
    record |= {
        "finished_at": datetime.now(UTC).isoformat(),
        "counts": asdict(progress.counts),
        "reused": {
            "documents": before.documents_done,
            "items": before.expected,
            "run_ids": list(remaining.run_ids),
        },
        "timings": {
            "list_seconds": prepared.list_seconds,
            **seconds,  # summed over all tasks, which ran side by side
            "write_seconds": writer.seconds,
            "run_seconds": time.perf_counter() - started,
        },
    }
    write_record(prepared.config.output, record)
    return record
