"""A merged row says at any moment what the windows of its document say, or is not there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.pipeline.commit.merging import MergingWorld
from tests.pipeline.commit.simulated import TIMEOUT, Run, die_before, lose_the_reply


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MergingWorld:
    """Of three documents, one of which is not listed any more after the first run."""
    world = MergingWorld(tmp_path / "out", monkeypatch)
    world.papers, world.gone = world.papers[:2], world.gone[:1]
    return world


def start(world: MergingWorld, again: frozenset[str] | None = None) -> Run:
    run = world.start(again=again)
    assert run is not None
    return run


def commit_one_by_one(world: MergingWorld, run: Run, between: Callable[[], None] = lambda: None) -> None:
    while run.waiting:
        world.deliver(run, 1)
        world.commit(run)
        world.check()
        between()
    world.leave(run)


@pytest.mark.parametrize("what", ["settings", "content"])
def test_it_leaves_with_the_first_window_and_comes_with_the_last(world: MergingWorld, what: str) -> None:
    world.finish()
    assert len(world.rows()["merged"]) == 3
    if what == "settings":
        world.settings += 1
    else:
        for paper in world.papers:
            paper.version += 1
    commit_one_by_one(world, start(world))
    assert len(world.rows()["merged"]) == 3
    world.finish()


def test_a_retry_makes_it_anew(world: MergingWorld) -> None:
    run = start(world)
    world.deliver(run, 3, fails=True)
    commit_one_by_one(world, run)
    assert [row["pages_missing"] for row in world.rows()["merged"]].count(None) == 2
    commit_one_by_one(world, start(world, again=frozenset({TIMEOUT})))
    world.finish()
    assert {row["pages_missing"] for row in world.rows()["merged"]} == {None}


@pytest.mark.parametrize(
    ("which", "strike"),
    [  # each commit is struck once; both ways at each, in `make soak`
        pytest.param(which, strike, marks=[] if (which + number) % 2 else pytest.mark.soak)
        for which in range(1, 6)
        for number, strike in enumerate((die_before, lose_the_reply))
    ],
)
def test_whatever_a_commit_comes_to(
    world: MergingWorld, which: int, strike: Callable[[Callable[[], None]], None]
) -> None:
    """The commits: documents, merged (the old rows leave), answers, failures, merged, documents."""
    world.finish()
    world.settings += 1
    run = start(world)
    world.deliver(run, 2, fails=True)
    world.deliver(run, 3)
    world.fault = (which, strike)
    world.leave(run)
    assert world.struck
    world.check()
    world.finish()


@pytest.mark.parametrize("vacuum", [False, True])
def test_other_tools_may_move_the_windows(world: MergingWorld, vacuum: bool) -> None:
    def optimize() -> None:
        for name in world.names:
            world.optimize(name)
            if vacuum:
                world.vacuum(name)

    world.finish()
    world.settings += 1
    commit_one_by_one(world, start(world), between=optimize)
    world.finish()


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("tool", ["optimize", "delete"])
def test_windows_of_a_run_that_was_cut_are_found_where_another_tool_has_put_them(
    world: MergingWorld, before: bool, tool: str
) -> None:
    """A DELETE writes files whose texts are `string_view`."""

    def rewrite() -> None:
        assert DeltaTable(world.tables["answers"].uri).optimize.compact()["numFilesAdded"] == 1
        if tool == "delete":
            world.delete("answers", world.gone[0])
        world.vacuum("answers")

    world.papers[0].pages = 4
    world.finish()
    world.settings += 1  # other rows in the file have other ones
    run = start(world)
    for count in (2, 1):  # the facts of a document and the first of its pages, then the second
        world.deliver(run, count)
        world.commit(run)
    world.die(run)
    if before:
        rewrite()
    run = start(world)
    if not before:
        rewrite()
    commit_one_by_one(world, run)
    world.finish()


def test_documents_that_were_merged_nowhere_are_merged_once(world: MergingWorld) -> None:
    """Another tool has deleted their rows, say."""
    world.finish()
    for paper in world.papers[:2]:
        world.delete("merged", paper)
    world._deleted.clear()
    run = start(world)
    assert {name: len(rows) for name, rows in run.remaining.unmerged.items()} == {"merged": 2}
    run.writer.merge_done(run.remaining.unmerged)
    world.check()
    world.leave(run)
    run = start(world)
    assert run.remaining.unmerged == {}
    world.leave(run)
