"""Ray for a job: the cluster that RAY_ADDRESS names, or a private one for as long as the job runs."""

import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import current_thread, main_thread

from jobs.run.ray_address import CONNECT_SECONDS, check_head, cluster_address
from jobs.run.ray_watchdog import RayLostError, standby, watch_connecting
from jobs.run.terminal import say_error

ROOT = Path(__file__).parents[2]
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by `ray job submit`, which has shipped the code already
# Left behind when the code is shipped to a cluster. A leading slash means: of the top level alone.
EXCLUDES = ["/out", "/tests", "/docs", "/deploy", ".git", ".venv", "venv", "__pycache__"]


@contextmanager
def connected(num_cpus: int | None = None) -> Iterator[str]:
    """Connects to Ray, says to which, and disconnects at the end. A caller's own connection is used as it is.

    A private Ray has `num_cpus` (default: those of the machine) and a token of its own: without one it would
    write ~/.ray/auth_token, after which a `ray start` of the same user asks every client for it. At the end
    its folder is removed; after an error that was nobody's mistake it stays, and its logs are named.
    Raises ValueError if nothing answers at the address, RayLostError if Ray does not start.
    """
    address = cluster_address()
    if not address:
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
    from pipeline import ray_internals

    ray_internals.pass_arguments_by_value()
    if not address:
        ray_internals.keep_no_statistics()  # nobody asks a private Ray for them
    if ray.is_initialized():
        yield "the Ray that was connected before"
        return
    if address:
        check_head(address)
    with standby() as waiting:
        try:
            with _own_sigterm():
                _connect(address, num_cpus)
        except Exception as error:  # Ray has no name for it: a raylet that does not come up is an Exception
            if address == "auto" and isinstance(error, ConnectionError):
                raise ValueError(
                    "RAY_ADDRESS auto: no Ray runs on this machine; start one, or unset RAY_ADDRESS for a "
                    "private one"
                ) from error
            raise RayLostError(f"Ray does not start: {' '.join(str(error).split())}") from error
        folder = None if address else ray_internals.session_folder()
        if folder is not None:
            waiting.note(folder / "logs", ray_internals.agents())
        try:
            yield f"the Ray cluster at {address}" if address else "a private Ray on this machine"
        except ValueError:  # a mistake in the command
            raise
        except Exception:
            if folder is not None:
                say_error(f"the logs of Ray are in {folder / 'logs'}")
                folder = None
            raise
        finally:
            ray.shutdown()
            ray_internals.be_quiet(quiet=False)
            if folder is not None:
                _remove(folder)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """A job's own answer to SIGTERM stays: Ray's exits on the spot."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before not in (signal.SIG_DFL, None) and current_thread() is main_thread():
        signal.signal(signal.SIGTERM, before)


def _connect(address: str | None, num_cpus: int | None) -> None:
    import ray

    if not address:
        with _silent(), _importable():
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


def _remove(folder: Path) -> None:
    """Removes the folder of a private Ray, and the link by which Ray finds its latest one."""
    shutil.rmtree(folder, ignore_errors=True)
    latest = folder.with_name("session_latest")
    with suppress(OSError):
        if latest.readlink() == folder:
            latest.unlink()


@contextmanager
def _importable() -> Iterator[None]:
    """Ray's processes find Quire's modules, too, where a program in another folder has put it on its path."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [before])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


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
