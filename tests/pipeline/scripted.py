"""An engine that writes what a test says, token by token, as an engine does: it ends where they would."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model.engine.answer import Answer
from model.engine.repetition import RepetitionLimit
from model.engine.request import Branch, Completion, Group, Progress
from model.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_file(Path("model/nano/tekken.json"))

Script = Callable[[Group, Branch], str]


class ScriptedEngine:
    """Answers a branch a step."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._waiting: list[tuple[Group, Branch]] = []

    @property
    def pending(self) -> int:
        return len(self._waiting)

    def submit(self, group: Group) -> list[str]:
        self._waiting += [(group, branch) for branch in group.branches]
        return [branch.id for branch in group.branches]

    def abort(self, id: str) -> None:
        self._waiting = [(group, branch) for group, branch in self._waiting if branch.id != id]

    def progress(self) -> list[Progress]:
        return []

    def step(self) -> list[Completion]:
        group, branch = self._waiting.pop(0)
        answer = Answer(
            replace(branch, grammar=None),  # the script may write what no grammar allows
            eos_id=TOKENIZER.eos,
            limit=RepetitionLimit(),
            grammars=None,
            token_bytes=TOKENIZER.token_bytes,
        )
        for token in [*TOKENIZER.encode(self._script(group, branch)), TOKENIZER.eos]:
            reason = answer.take(token, -0.01)
            if reason is not None:
                return [
                    Completion(
                        id=branch.id,
                        token_ids=answer.token_ids,
                        logprobs=answer.logprobs,
                        finish_reason=reason,
                        prompt_tokens=len(group.prefix_ids) + len(branch.ids),
                        cached_tokens=0,
                        stopped_at=answer.stopped_at,
                    )
                ]
        raise AssertionError("the end of sequence ends an answer")


def follow_script(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas answer by a script from now on."""
    monkeypatch.setattr("tests.pipeline.local_replica.make_engine", lambda *_: ScriptedEngine(script))


def prompt_of(group: Group, branch: Branch) -> str:
    """The text of a prompt."""
    return TOKENIZER.decode([*group.prefix_ids, *branch.ids])
