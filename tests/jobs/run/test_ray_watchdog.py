"""A job whose Ray is not there, or dies, ends soon, and says what is gone."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray._private.worker

from jobs.run import ray_watchdog
from jobs.run.ray_session import connected
from jobs.run.ray_watchdog import RayLostError
from pipeline import ray_internals
from tests.environment import without_ray
from tests.jobs.ray_head import free_ports
from tests.jobs.started import left_of

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[3]
WAIT_SECONDS = 500  # for what takes some on an idle machine

PROGRAM = """
import sys, threading, time
import psutil
from jobs.run import ray_watchdog
from jobs.run.ray_session import connected
from jobs.run.ray_watchdog import RayLostError
from jobs.run.signals import graceful
from pipeline.ray_internals import session_folder

ray_watchdog.HEAD_SECONDS = 2.0
with connected(num_cpus=1), graceful(lambda: None):
    folder = session_folder()
    assert (folder / "logs").is_dir()
    try:
        with ray_watchdog.watchdog():
            time.sleep(3)
            (victim,) = [one for one in psutil.Process().children() if one.name() == sys.argv[1]]
            victim.kill()
            time.sleep(200)
    except RayLostError as error:
        print(error)
print(f"{folder.exists()=}")
time.sleep(0.5)
print(f"{[thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]=}")
"""


@pytest.mark.parametrize(
    ("victim", "said"),
    [
        pytest.param("raylet", "Ray's process on this machine, the raylet, has died", marks=pytest.mark.soak),
        ("gcs_server", "Ray's head at"),
    ],
)
def test_a_job_that_waits_for_a_dead_ray_is_woken(victim: str, said: str) -> None:
    command = [sys.executable, "-c", PROGRAM, victim]
    done = subprocess.run(
        command, cwd=ROOT, env=without_ray(), capture_output=True, text=True, timeout=WAIT_SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert any(line.startswith(said) for line in done.stdout.splitlines()), done.stdout
    assert "folder.exists()=False" in done.stdout
    assert "threading.Timer)]=[]" in done.stdout, "the program would be ended for good"


KILLED = """
import os, signal, sys
from jobs.run.ray_session import connected

with connected(num_cpus=1):
    print("connected", flush=True)
    sys.stdin.readline()
"""


def test_a_job_that_is_killed_takes_its_ray_with_it_and_names_its_logs() -> None:
    """Of Ray's processes, the agents would wait a minute for its head."""
    job = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        cwd=ROOT,
        env=without_ray(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "connected\n"
    came = psutil.Process(job.pid).children(recursive=True)
    assert {"raylet", "gcs_server"} < {process.name() for process in came}
    agents = [process for process in came if "Agent" in " ".join(process.cmdline())]
    assert len(agents) == 2
    job.kill()
    _, said = job.communicate(timeout=WAIT_SECONDS)
    assert psutil.wait_procs(agents, timeout=30)[1] == []
    assert left_of(came) == []
    logs = Path(said.rpartition("the logs of Ray are in ")[2].strip())
    assert (logs / "raylet.out").is_file(), said
    shutil.rmtree(logs.parent)


def test_an_error_names_the_logs_of_ray_and_a_mistake_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its Ray is a folder."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    for name in ("init", "shutdown"):
        monkeypatch.setattr(f"ray.{name}", lambda *_, **__: None)
    monkeypatch.setattr("pipeline.ray_internals.session_folder", lambda: tmp_path / "session")
    monkeypatch.setattr("pipeline.ray_internals.agents", lambda: [])
    for error, stays in ((RuntimeError("no room"), True), (ValueError("a mistake"), False)):
        (tmp_path / "session" / "logs").mkdir(parents=True, exist_ok=True)
        with pytest.raises(type(error)), connected():
            raise error
        assert (tmp_path / "session").exists() == stays
        assert (f"the logs of Ray are in {tmp_path}/session/logs" in capsys.readouterr().err) == stays


def test_a_job_that_was_told_to_stop_hears_no_more_of_its_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"lines": ["There are infinite retries remaining"], "pid": "raylet", "is_err": False}
    ray_internals.be_quiet(quiet=True)
    ray._private.worker.print_to_stdstream(said, ignore_prefix=False)
    assert "infinite" not in capsys.readouterr().out
    ray_internals.be_quiet(quiet=False)
    ray._private.worker.print_to_stdstream(said, ignore_prefix=False)
    assert "infinite" in capsys.readouterr().out


def job_with(error: BaseException) -> None:
    with ray_watchdog.watchdog():
        time.sleep(0.1)
        raise error


def test_what_else_ends_a_job_stays_what_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its Ray is a socket and a port on which somebody listens."""
    with socket.socket(socket.AF_UNIX) as raylet, socket.create_server(("127.0.0.1", 0)) as head:
        raylet.bind(path := os.path.relpath(tmp_path / "raylet"))  # such a path may have 107 characters
        raylet.listen()
        context = SimpleNamespace(gcs_address=f"127.0.0.1:{head.getsockname()[1]}")
        monkeypatch.setattr("ray.get_runtime_context", lambda: context)
        monkeypatch.setattr("pipeline.ray_internals.raylet_socket", lambda: path)
        monkeypatch.setattr(ray_watchdog, "LOOK_SECONDS", 0.01)
        for error in (KeyboardInterrupt(), OSError("no room")):
            with pytest.raises(type(error)):
                job_with(error)


def test_a_ray_that_does_not_start_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*args: object, **kwargs: object) -> None:
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", init)
    with (
        pytest.raises(RayLostError, match=r"Ray does not start: The .* timed out during startup"),
        connected(),
    ):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "nowhere.invalid"])
def test_an_address_at_which_no_ray_answers_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    address = f"{host}:{free_ports(1)[0]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ValueError, match="no Ray answers there") as refused, connected():
        pass
    assert address in str(refused.value)


STUCK = """
import socket, time
from types import SimpleNamespace
import ray
from jobs.run import ray_watchdog
from jobs.run.signals import graceful
from pipeline import ray_internals

ray.get_runtime_context = lambda: SimpleNamespace(gcs_address="127.0.0.1:1")
ray_internals.raylet_socket = lambda: "/nowhere"
ray_watchdog.LAST_SECONDS = 1.0
with graceful(lambda: None), ray_watchdog.watchdog():
    try:
        time.sleep(100)
    finally:
        time.sleep(100)
"""


CONNECTING = """
from jobs.run import ray_session, ray_watchdog

ray_watchdog.HEAD_SECONDS = 1.0
ray_session.check_head = lambda address: None  # it was one
with ray_session.connected():
    print("connected")
"""


def test_a_head_that_goes_while_a_job_connects_is_a_sentence() -> None:
    """Its Ray is a port on which somebody listens, and then nobody."""
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = "{}:{}".format(*head.getsockname())
        job = subprocess.Popen(
            [sys.executable, "-c", CONNECTING],
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": address},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2):  # the question whether anybody answers, and Ray's own
            head.accept()[0].close()
    _, said = job.communicate(timeout=WAIT_SECONDS)
    assert job.returncode == 1
    assert f"broken off: Ray's head at {address} is gone; the same command continues" in said


VANISHING = """
import os, signal
from pathlib import Path
import ray
from jobs.run.ray_session import connected
from pipeline import ray_internals

ray_internals.session_folder, ray_internals.agents = lambda: Path("nowhere"), lambda: []

def start(*args, **kwargs):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.killpg(0, signal.SIGINT)  # what the terminal does, for which a job has its own answer
    if {early}:
        os._exit(1)

ray.init = start
with connected():
    os._exit(1)
"""


@pytest.mark.parametrize("early", [True, False])
def test_a_process_that_ray_ends_has_its_sentence_all_the_same(early: bool) -> None:
    """As it does where the raylet dies that it just talks to."""
    command = [sys.executable, "-c", VANISHING.format(early=early)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=without_ray(),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        start_new_session=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("broken off: this process was killed, or ended by Ray")
    logs = "" if early else "; the logs of Ray are in nowhere/logs"
    assert done.stderr.endswith(f"the same command continues{logs}\n")


def test_a_job_that_ray_does_not_let_go_ends_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK], cwd=ROOT, capture_output=True, text=True, timeout=WAIT_SECONDS
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("broken off: Ray's process on this machine, the raylet")
