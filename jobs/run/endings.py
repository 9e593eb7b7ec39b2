"""How jobs end: their exit codes, and the sentence of those whose work the same command continues."""

from collections.abc import Callable

from jobs.run.terminal import say, say_error

FAILED, MISTAKE, MANY_FAILURES, INTERRUPTED = 1, 2, 3, 130  # 130 is what shells give for Ctrl-C


def ended(work: Callable[[], None]) -> int:
    """Does the work on an output's tables; returns the exit code, and says in a sentence what went wrong."""
    try:
        work()
    except ValueError as error:
        say_error(f"error: {error}")
        return MISTAKE
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
