"""The child of a `Validator`: it imports a target, and reads texts until its parent is gone.

In: where to look for modules, and the target's name; then texts. Out: a word that it is ready; then for each
text the target's row, or an AnswerError. `validator` starts
python -m pipeline.parse.validator_main SOCKET PARENT.
"""

import sys

from pipeline.child_process import Wire, end_now, join_parent
from pipeline.parse.answers import AnswerError, read_target
from schemas.arrow import to_row
from schemas.targets import load_target


def serve(wire: Wire) -> None:
    """Reads one text after the other."""
    sys.path[:], name = wire.receive()
    target = load_target(name)
    wire.send("ready")
    while True:
        try:
            text = wire.receive()
        except EOFError:
            return
        try:
            wire.send(to_row(read_target(target, text)))
        except AnswerError as error:
            wire.send(error)
        except BaseException as error:  # SystemExit and KeyboardInterrupt of a validator: no other sends them
            wire.send(AnswerError("invalid_value", f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    serve(join_parent())
    end_now(0)
