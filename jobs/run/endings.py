"""How jobs end: their exit codes, and the sentence of those whose work the same command continues."""

from collections.abc import Callable

from jobs.run.signals import sigterm_stops
from jobs.run.terminal import say, say_error
from pipeline.ingest.outages import is_outage

FAILED, MISTAKE, MANY_FAILURES, INTERRUPTED = 1, 2, 3, 130  # 130 is what shells give for Ctrl-C


def code_of(error: ValueError) -> int:
    """The exit code of a job that ends in this error: a mistake, unless a store or a server is at fault."""
    return FAILED if is_outage(error) else MISTAKE


def sentence_of(error: ValueError) -> str:
    """What is said of such an end."""
    return f"broken off: {error}; the same command continues" if is_outage(error) else f"error: {error}"


def ended(work: Callable[[], None]) -> int:
    """Does the work on an output's tables; returns the exit code, and says in a sentence what went wrong."""
    try:
        with sigterm_stops():
            work()
    except ValueError as error:
        say_error(sentence_of(error))
        return code_of(error)
    except RuntimeError as error:
        from pipeline.commit.tables import OutputError  # only here, so that --help answers at once

        if not isinstance(error, OutputError):
            raise
        say_error(f"broken off: {error}; the same command continues")
        return FAILED
    except KeyboardInterrupt:
        say("stopped: the same command continues")
        return INTERRUPTED
    return 0
