"""Of an error of Ray's, the job says the sentence of the Replica alone."""

import pytest
from ray.exceptions import RayError

from jobs.run.engine_errors import named_engine_errors
from pipeline.infer.ranks import EngineBrokenError

TRACEBACK = """The actor died because of an error raised in its creation task, ray::MapWorker.__init__()
  File "/x/pipeline/infer/supervisor.py", line 50, in __init__
    self._ready.result()
pipeline.infer.ranks.EngineBrokenError: the engine does not start: ValueError: 3 MiB are free beside the model
Failed to apply UDF transform after 1/1 attempts (total backoff 0.0s).
"""


def test_a_replica_that_cannot_go_on_is_said_in_its_sentence() -> None:
    with pytest.raises(EngineBrokenError) as caught, named_engine_errors():
        raise RayError(TRACEBACK)
    assert str(caught.value) == "the engine does not start: ValueError: 3 MiB are free beside the model"


def test_other_errors_stay() -> None:
    with pytest.raises(RayError, match="lost"), named_engine_errors():
        raise RayError("lost")
    with pytest.raises(ValueError, match="EngineBrokenError"), named_engine_errors():
        raise ValueError("EngineBrokenError: not Ray's")
