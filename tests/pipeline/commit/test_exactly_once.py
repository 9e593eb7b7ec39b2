"""Whatever dies, lies or interferes: no row is twice, none is lost, each document has one generation."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.pipeline.commit.merging import MergingWorld
from tests.pipeline.commit.simulated import NAMES, STRIKES, TIMEOUT, UNREADABLE, Run, Strike, World

AGAIN = (None, None, frozenset({TIMEOUT}), frozenset({TIMEOUT, UNREADABLE}))
TABLES = (*NAMES, "merged")
TOOLS = ("optimize", "vacuum", "delete")
PLACES = st.integers(0, 3)  # which of the next commits


class OutputMachine(RuleBasedStateMachine):
    """An output that was written before; two runs that live at a time, other tools at its tables, faults."""

    kind = World

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.world = self.kind(self.folder / "out", self.patch)
        run = self.world.start()
        assert run is not None
        self.world.deliver(run, len(run.waiting) // 2, fails=True)
        self.world.commit(run)
        self.world.deliver(run, len(run.waiting))
        self.world.leave(run)

    def teardown(self) -> None:
        try:
            self.world.finish()
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)

    @precondition(lambda self: len(self.world.runs) < 2)
    @rule(after_silence=st.booleans(), again=st.sampled_from(AGAIN))
    def start(self, after_silence: bool, again: frozenset[str] | None) -> None:
        free = self.world.fault is None and (after_silence or self.world.holder is None)
        run = self.world.start(after_silence=after_silence, again=again)
        assert run is not None or not free

    @precondition(lambda self: self.world.runs)
    @rule(which=st.integers(-2, -1), count=st.integers(1, 6), fails=st.booleans(), twice=st.booleans())
    def deliver(self, which: int, count: int, fails: bool, twice: bool) -> None:
        self.world.deliver(self._run(which), count, fails=fails, twice=twice)

    @precondition(lambda self: self.world.runs)
    @rule(which=st.integers(-2, -1), count=st.integers(1, 6), place=PLACES, strike=st.sampled_from(STRIKES))
    def commit(self, which: int, count: int, place: int, strike: Strike) -> None:
        self.world.fault = (place, strike)
        self.world.deliver(self._run(which), count)
        self.world.commit(self._run(which))

    @precondition(lambda self: self.world.runs)
    @rule(
        which=st.integers(-2, -1),
        count=st.integers(1, 6),
        place=st.none() | PLACES,
        name=st.sampled_from(TABLES),
    )
    def commit_while_another_tool_works(self, which: int, count: int, place: int | None, name: str) -> None:
        """On the version before it, or (place None) in peace."""

        def strike(commit: Callable[[], None]) -> None:
            self.world.optimize(name)
            commit()

        assume(name in self.world.names)
        self.world.fault = None if place is None else (place, strike)
        self.world.deliver(self._run(which), count)
        self.world.commit(self._run(which))

    @rule(after_silence=st.booleans(), cut=st.none() | st.tuples(st.integers(0, 15), st.booleans()))
    def maintain(self, after_silence: bool, cut: tuple[int, bool] | None) -> None:
        """Between runs, or in place of one that has been silent; it may die at each of its steps."""
        self.world.maintain(after_silence=after_silence, cut=cut)

    @precondition(lambda self: self.world.runs)
    @rule(which=st.integers(-2, -1), how=st.sampled_from(["leave", "die", "beat", "compact"]))
    def end(self, which: int, how: str) -> None:
        getattr(self.world, how)(self._run(which))

    @rule(names=st.sets(st.sampled_from(TABLES), min_size=1), tool=st.sampled_from(TOOLS))
    def interfere(self, names: set[str], tool: str) -> None:
        """Another tool works between two commits."""
        for name in sorted(names & {*self.world.names}):
            if tool == "delete":
                self.world.delete(name, self.world.gone[0])
            else:
                getattr(self.world, tool)(name)

    def _run(self, which: int) -> Run:
        return self.world.runs[max(which, -len(self.world.runs))]

    @rule(
        which=st.integers(0, 3),
        what=st.sampled_from(["changed", "broken", "mended", "settings", "wording"]),
    )
    def change(self, which: int, what: str) -> None:
        paper = self.world.papers[which]
        if what in ("changed", "broken"):
            paper.version += 1
            paper.opens = what == "changed"
        elif what == "mended":
            paper.opens = True
        elif what == "settings":
            self.world.settings += 1
        else:
            self.world.wording += 1

    @invariant()
    def the_tables_are_sound(self) -> None:
        self.world.check()


class MergingMachine(OutputMachine):
    """The same with a target, whose answers are merged."""

    kind = MergingWorld


EXAMPLES = settings().max_examples  # of the profile
TestOutputMachine = OutputMachine.TestCase
TestOutputMachine.settings = settings(max_examples=max(1, EXAMPLES // 16), stateful_step_count=20)
TestMergingMachine = MergingMachine.TestCase
TestMergingMachine.settings = settings(max_examples=max(1, EXAMPLES // 25), stateful_step_count=20)
