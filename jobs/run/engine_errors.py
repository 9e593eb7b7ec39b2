"""Finds among the words of a Ray error the sentence of a Replica that cannot go on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.infer.ranks import EngineBrokenError

# Ray wraps what a Replica raises, and keeps of it but the text of its traceback.
_RAISED = re.compile(rf"^(?:\w+\.)*{EngineBrokenError.__name__}: (.+)$", re.MULTILINE)


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
