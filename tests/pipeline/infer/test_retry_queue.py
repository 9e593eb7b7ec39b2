"""What is asked again after the ranks died: never what is finished, and the one page that kills is found."""

from hypothesis import given
from hypothesis import strategies as st

from model.engine.request import Branch, Completion, Group
from pipeline.infer.retry_queue import TRIES, RetryQueue
from tests.pipeline.seats import completion


def page(name: int, questions: int = 1) -> Group:
    branches = [Branch(id=f"{name}.{number}", ids=[1], max_new_tokens=1) for number in range(questions)]
    return Group(id=str(name), prefix_ids=[1], images=[], branches=branches, max_side=1)


def ids(groups: list[Group]) -> list[str]:
    return [branch.id for group in groups for branch in group.branches]


DEATH = RuntimeError("rank 1 died")


def test_what_comes_is_asked_at_once() -> None:
    queue = RetryQueue()
    assert queue.idle
    queue.add([page(1)])
    assert not queue.idle
    assert ids(queue.next()) == ["1.0"]
    queue.add([page(2)])
    assert ids(queue.next()) == ["2.0"]
    queue.finish([completion("1.0"), completion("2.0")])
    assert queue.idle


def test_only_unfinished_questions_are_asked_again() -> None:
    queue = RetryQueue()
    queue.add([page(1, questions=3)])
    queue.next()
    queue.finish([completion("1.1")])
    assert queue.lose(DEATH) == []
    assert ids(queue.next()) == ["1.0", "1.2"]


def test_suspects_are_asked_by_halves_with_nothing_beside_them() -> None:
    queue = RetryQueue()
    queue.add([page(number) for number in range(5)])
    queue.next()
    queue.add([page(9)])
    queue.lose(DEATH)
    assert ids(queue.next()) == ["0.0", "1.0"]
    assert queue.next() == []
    queue.finish([completion("0.0")])
    assert queue.next() == []
    queue.finish([completion("1.0")])
    assert ids(queue.next()) == ["2.0", "3.0", "4.0"]
    queue.finish([completion(f"{number}.0") for number in (2, 3, 4)])
    assert ids(queue.next()) == ["9.0"]


def test_a_page_that_kills_is_given_up_after_three_deaths_alone() -> None:
    queue = RetryQueue()
    queue.add([page(1, questions=2)])
    for _ in range(TRIES - 1):
        queue.next()
        assert queue.lose(DEATH) == []
    queue.next()
    given_up = queue.lose(DEATH)
    assert [(one.id, one.finish_reason, one.error) for one in given_up] == [
        (id, "error", "RuntimeError: rank 1 died") for id in ("1.0", "1.1")
    ]
    assert queue.idle


def test_what_is_called_off_is_asked_no_more_wherever_it_is() -> None:
    queue = RetryQueue()
    queue.add([page(1, questions=2), page(2), page(3)])
    queue.next()
    queue.add([page(4), page(5, questions=2)])
    assert queue.abort(["1.1", "2.0", "4.0", "5.0", "unknown"]) == ["1.1", "2.0"]
    assert [one.id for one in queue.finish([completion("2.0"), completion("1.0")])] == ["1.0"]
    assert ids(queue.next()) == ["5.1"]
    assert queue.lose(DEATH) == []  # 3 and 5 are suspects now
    queue.abort(["3.0"])
    assert ids(queue.next()) == ["5.1"]
    queue.abort(["5.1"])
    assert queue.lose(DEATH) == []
    assert queue.idle


def test_ranks_that_die_of_nothing_cost_nobody_anything() -> None:
    queue = RetryQueue()
    for _ in range(5):
        assert queue.lose(DEATH) == []
    assert queue.idle


@given(
    killers=st.sets(st.integers(0, 39), max_size=3),
    chance=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    arrivals=st.integers(1, 40),
)
def test_the_killers_fail_and_all_others_are_answered_once(
    killers: set[int], chance: list[int], arrivals: int
) -> None:
    """Ranks that answer some of what they are asked, before they die of a killer if there is one among it."""
    queue = RetryQueue()
    pages = [page(number) for number in range(40)]
    answered: list[str] = []
    given_up: list[Completion] = []
    asked: list[str] = []
    deaths = turn = 0
    while pages or not queue.idle:
        queue.add(pages[:arrivals])
        del pages[:arrivals]
        asked += ids(queue.next())
        turn += 1
        good = [id for id in asked if int(id[:-2]) not in killers]
        done = good[: chance[turn % len(chance)]]
        queue.finish([completion(id) for id in done])
        answered += done
        asked = [id for id in asked if id not in done]
        if any(int(id[:-2]) in killers for id in asked) and (chance[turn % len(chance)] < 7 or not done):
            given_up += queue.lose(DEATH)
            deaths += 1
            asked = []
        assert turn < 2000
    assert sorted(one.id for one in given_up) == sorted(f"{number}.0" for number in killers)
    assert sorted(answered) == sorted(f"{number}.0" for number in range(40) if number not in killers)
    assert deaths <= len(killers) * (TRIES + 7)  # log2 of 40, and those that a half shares with another
