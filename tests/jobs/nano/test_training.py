"""The curriculum of training and its learning rate."""

import pytest

from jobs.nano import training


def test_learning_rate_rises_stays_and_falls() -> None:
    assert training.learning_rate(0, 0.0) == pytest.approx(training.PEAK_RATE / training.WARMUP_STEPS)
    assert training.learning_rate(500, 0.3) == training.PEAK_RATE
    assert training.learning_rate(9000, 0.75) == pytest.approx(training.PEAK_RATE / 2)
    assert training.learning_rate(9000, 1.0) == pytest.approx(training.PEAK_RATE / 50)


def test_stages_share_the_whole_time() -> None:
    for stages in (training.FROM_NOTHING, training.FROM_WEIGHTS):
        assert sum(stage.share for stage in stages) == pytest.approx(1.0)
