"""Whatever a user's validators do to their process costs one item: the next one is read as ever."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from pipeline.parse.answers import AnswerError, read_completion
from pipeline.parse.validator import MODULE, Validator
from schemas.arrow import to_row, to_table
from schemas.rows import answer_row
from tests.pipeline.parse.test_answers import TOKENIZER, completion, plan
from tests.pipeline.parse.unruly import Unruly

NAME = "tests.pipeline.parse.unruly:Unruly"


@pytest.fixture(scope="module")
def validator() -> Iterator[Validator]:
    found = Validator(NAME)
    yield found
    found.close()


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if MODULE in one.cmdline()]


def text(word: str | None) -> str:
    return json.dumps({"word": word})


@pytest.mark.parametrize(
    ("word", "reason", "message"),
    [
        ("exit", "invalid_value", "SystemExit: 3"),
        ("interrupt", "invalid_value", "KeyboardInterrupt: "),
        ("base", "invalid_value", "BaseException: odd"),
        ("end", "crash", "the target's validators were tried 2 times: its process ended with exit code 3"),
        ("segfault", "crash", "the target's validators were tried 2 times: its process crashed (SIGSEGV)"),
        (None, "missing_field", "word: is missing"),
    ],
)
def test_it_costs_one_item(validator: Validator, word: str | None, reason: str, message: str) -> None:
    with pytest.raises(AnswerError) as caught:
        validator(text(word))
    assert (caught.value.reason, str(caught.value)) == (reason, message)
    assert validator(text("next")).word == "NEXT"


def test_a_validator_that_hangs_costs_one_item() -> None:
    validator = Validator(NAME, seconds=0.5)
    with pytest.raises(AnswerError, match=r"took more than 0\.5 s") as caught:
        validator(text("hang"))
    assert caught.value.reason == "timeout"
    validator.close()


def test_a_child_that_somebody_killed_is_replaced(validator: Validator) -> None:
    assert validator(text("a")).word == "A"
    (child,) = children()
    child.kill()
    psutil.wait_procs([child])
    assert validator(text("b")).word == "B"


def test_a_text_that_hangs_holds_up_no_other_thread() -> None:
    before = set(children())
    validator = Validator(NAME, seconds=20)
    validator(text("a"))
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(validator, text("hang"))
        while not hanging.running():
            pass
        assert [validator(text(word)).word for word in "bcd"] == ["B", "C", "D"]
        assert not hanging.done()
        mine = set(children()) - before
        assert len(mine) == 2, "one hangs, and the other read the rest"
        validator._seconds = 0.5  # of the second try
        # The idle one first: the second try would find it, and it would die once more.
        idle = {one._process.pid for one in validator._free}
        for child in sorted(mine, key=lambda one: one.pid not in idle):
            child.kill()
            psutil.wait_procs([child])
        with pytest.raises(AnswerError, match=r"took more than 0\.5 s"):
            hanging.result()
    validator.close()


def test_the_row_is_that_of_the_target_itself(validator: Validator) -> None:
    """And the validators run once: a second look at the answer would run them in this process."""
    row = read_completion(completion(text("a")), plan(NAME), TOKENIZER, validator)
    assert isinstance(row, answer_row(Unruly))
    assert to_row(row)["answer"] == {"word": "A"}
    to_table(answer_row(Unruly), [row])
    assert [(field.path, field.page) for field in row.fields] == [("word", None)]
