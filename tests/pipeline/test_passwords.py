"""Passwords reach the tasks of a run beside its plan."""

import pickle
from dataclasses import replace

import pytest

from pipeline import passwords
from pipeline.passwords import handed_over, passwords_of
from tests.pipeline.plans import PLAN

SECRET = "hunter2"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    """In place of that of Ray's head."""
    found: dict[bytes, bytes] = {}
    monkeypatch.setattr(passwords, "set_key", found.__setitem__)
    monkeypatch.setattr(passwords, "get_key", found.get)
    monkeypatch.setattr(passwords, "delete_key", found.pop)
    return found


def test_the_plan_that_travels_holds_no_password(store: dict[bytes, bytes]) -> None:
    with handed_over(replace(PLAN, run_id="locked", passwords=(SECRET, "é"))) as plan:
        travels = pickle.dumps(plan)
        assert SECRET.encode() not in travels
        assert passwords_of(pickle.loads(travels)) == (SECRET, "é")
    assert not store


def test_a_run_without_passwords_stores_none(store: dict[bytes, bytes]) -> None:
    with handed_over(replace(PLAN, run_id="open")) as plan:
        assert not store
        assert passwords_of(plan) == ()


def test_they_are_taken_back_when_the_run_breaks(store: dict[bytes, bytes]) -> None:
    def breaks() -> None:
        with handed_over(replace(PLAN, run_id="cut", passwords=(SECRET,))):
            assert store
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        breaks()
    assert not store
