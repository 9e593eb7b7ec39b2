"""Finds among the words of a Ray error the sentence of a task or a Replica that cannot go on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from model.hub import HubError
from pipeline.infer.ranks import EngineBrokenError

# Ray wraps what they raise, and keeps of it but the text of its traceback.
_RAISED = re.compile(rf"^(?:\w+\.)*(?:{EngineBrokenError.__name__}|{HubError.__name__}): (.+)$", re.MULTILINE)


@contextmanager
def named_engine_errors() -> Iterator[None]:
    """Raises EngineBrokenError for the errors of Ray that tell of one; the others stay."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        found = _RAISED.findall(str(error))
        if not found:
            raise
        raise EngineBrokenError(found[-1]) from error
