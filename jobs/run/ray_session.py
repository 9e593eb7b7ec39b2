"""Ray for a job: the cluster that RAY_ADDRESS names, or a private one for as long as the job runs."""

import logging
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

from jobs.run.last_words import end_lost, heir

ROOT = Path(__file__).parents[2]
CONNECT_SECONDS = 10.0
HEAD_SECONDS = 30.0  # for which the head may be away: one with a store that survives it starts again
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by `ray job submit`, which has shipped the code already


class RayLostError(RuntimeError):
    """Ray does not start, or has died under the job. One sentence."""


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

    # Its log files hold what it plans and what goes wrong, not each task, and every few seconds its gauges.
    logging.getLogger("ray.data").setLevel(logging.INFO)
    for handler in logging.getLogger("ray.data").handlers:
        if type(handler).__name__ == "PlainRayHandler":
            handler.setLevel(logging.ERROR)  # its plans and progress stay in its log files
    if not address:
        from pipeline.ray_internals import keep_no_statistics

        keep_no_statistics()  # nobody asks a private Ray for them
    if ray.is_initialized():
        yield "the Ray that was connected before"
        return
    with heir():
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
        code = {
            "working_dir": str(ROOT),
            "excludes": ["/out", "/tests", ".git", ".venv", "venv", "__pycache__"],
        }
        with _watched(address):
            ray.init(runtime_env=code, log_to_driver=False, logging_level=logging.WARNING)


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes, with a warning every few seconds."""
    if error := silence_of(address, CONNECT_SECONDS):
        raise ValueError(
            f"RAY_ADDRESS {address}: no Ray answers there ({error}); start one, or unset RAY_ADDRESS for a "
            "private one"
        ) from error


def silence_of(address: str, seconds: float) -> Exception | None:
    """Why nobody answers at HOST:PORT within so long; of other forms (auto, ray://...) nothing is known."""
    try:
        place = urlsplit(f"//{address}")
        if "://" not in address and place.hostname is not None and place.port is not None:
            socket.create_connection((place.hostname, place.port), seconds).close()
    except (OSError, ValueError) as error:
        return error
    return None


@contextmanager
def _watched(address: str) -> Iterator[None]:
    """While it connects: Ray would wait for a head that is gone, and then end the process with a stack."""
    connected = Event()

    def watch() -> None:
        answered = time.monotonic()
        while not connected.wait(1.0):
            if not silence_of(address, CONNECT_SECONDS):
                answered = time.monotonic()
            elif time.monotonic() - answered > HEAD_SECONDS:
                end_lost(f"Ray's head at {address} is gone")  # nothing has been asked yet

    Thread(target=watch, name="connecting", daemon=True).start()
    try:
        yield
    finally:
        connected.set()


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps off the terminal what Ray announces while it starts (log level, tokens); shows it if it fails."""
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
