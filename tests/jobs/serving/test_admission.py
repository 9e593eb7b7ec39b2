"""Nobody comes in beyond the limits, and all that is taken is given back."""

import pytest

from jobs.serving.admission import Admission
from jobs.serving.errors import ApiError


def test_places_are_taken_up_to_the_limit_and_given_back() -> None:
    admission = Admission(places=3, most_bytes=100)
    with admission.enter() as first:
        first.want_places(2)
        with admission.enter() as second, pytest.raises(ApiError, match="3 answers are in work") as raised:
            second.want_places(2)
        assert (raised.value.status, raised.value.headers) == (429, {"Retry-After": "1"})
        with pytest.raises(ApiError, match="asks for 4 answers, and the limit is 3") as raised:
            first.want_places(4)
        assert raised.value.status == 400
        assert admission.taken == 2
    assert admission.taken == 0


def test_bytes_are_held_up_to_the_limit_and_given_back() -> None:
    admission = Admission(places=9, most_bytes=100)
    with admission.enter() as first, admission.enter() as second:
        first.want_bytes(60)
        with pytest.raises(ApiError) as raised:
            second.want_bytes(50)
        assert raised.value.status == 429
        first.want_bytes(50)
        second.want_bytes(50)
        assert admission.held == 100
    assert admission.held == 0


def test_who_finds_no_place_takes_none() -> None:
    admission = Admission(places=1, most_bytes=100)
    with admission.enter():
        with pytest.raises(ApiError, match="1 answers are in work"):
            admission.enter()
        assert admission.taken == 1
    assert admission.taken == 0
