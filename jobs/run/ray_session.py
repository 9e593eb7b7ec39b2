"""Ray for a job: the cluster that RAY_ADDRESS names, or a private one for as long as the job runs."""

import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.run.ray_watchdog import RayLostError, connection_error, standby, watch_connecting

ROOT = Path(__file__).parents[2]
CONNECT_SECONDS = 10.0
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by `ray job submit`, which has shipped the code already
# Left behind when the code is shipped to a cluster. A leading slash means: of the top level alone.
EXCLUDES = ["/out", "/tests", "/docs", "/deploy", ".git", ".venv", "venv", "__pycache__"]


@contextmanager
def connected(num_cpus: int | None = None) -> Iterator[str]:
    """Connects to Ray, says to which, and disconnects at the end. A caller's own connection is used as it is.

    A private Ray has `num_cpus` (default: those of the machine) and a token of its own: without one it would
    write ~/.ray/auth_token, after which a `ray start` of the same user asks every client for it.
    Raises ValueError if nothing answers at the address, RayLostError if Ray does not start.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _check_answers(address)
    else:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # Nobody asks a private Ray for its tasks and metrics, and its processes would keep them: some
        # kilobytes for each task of up to 100,000.
        os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
        os.environ.setdefault("RAY_enable_metrics_collection", "0")
        # Ray Data makes the C++ side complain of each actor that it starts (ray issue 53727).
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray.data  # reads variables when it is imported

    # Its log files hold its plans and errors; DEBUG would add each task, and its gauges every few seconds.
    logging.getLogger("ray.data").setLevel(logging.INFO)
    for handler in logging.getLogger("ray.data").handlers:
        if type(handler).__name__ == "PlainRayHandler":
            # Its plans and progress stay in its log files, and its errors are raised, too.
            handler.setLevel(logging.CRITICAL)
    if not address:
        from pipeline.ray_internals import keep_no_statistics

        keep_no_statistics()  # nobody asks a private Ray for them
    if ray.is_initialized():
        yield "the Ray that was connected before"
        return
    with standby():
        try:
            _connect(address, num_cpus)
        except Exception as error:  # Ray has no name for it: a raylet that does not come up is an Exception
            raise RayLostError(f"Ray does not start: {' '.join(str(error).split())}") from error
        try:
            yield f"the Ray cluster at {address}" if address else "a private Ray on this machine"
        finally:
            ray.shutdown()


def _connect(address: str | None, num_cpus: int | None) -> None:
    import ray

    if not address:
        with _silent():
            ray.init(
                "local",
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
    elif SUBMITTED in os.environ:
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    else:
        # Ray's own list, of which it would warn.
        os.environ.setdefault("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "")
        code = {"working_dir": str(ROOT), "excludes": EXCLUDES}
        with watch_connecting(address, CONNECT_SECONDS):
            ray.init(runtime_env=code, log_to_driver=False, logging_level=logging.WARNING)


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes, with a warning every few seconds."""
    if error := connection_error(address, CONNECT_SECONDS):
        raise ValueError(
            f"RAY_ADDRESS {address}: no Ray answers there ({error}); start one, or unset RAY_ADDRESS for a "
            "private one"
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps Ray's words (log level, tokens) off the terminal while it starts; shows them if it fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
