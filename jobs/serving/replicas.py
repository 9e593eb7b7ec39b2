"""Several Replicas behind one address, through Ray Serve.

In: the configs that a server of one Replica has, and Ray, which is connected. Out: nothing, once it was told
to end. Each Replica is the whole application with an engine of its own, and the one with less to do is asked.
One that dies is started again; what it was answering is lost, and is a 500 to its clients. The head of Ray
listens. Ray Serve is one for a cluster: where it runs already, this is refused, and it ends with us.
"""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import Any, Final

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError
from ray.util import list_named_actors

from jobs.run.terminal import say
from jobs.serving.app import make_app
from jobs.serving.service import Service, ServiceConfig, start_service
from pipeline.infer.ranks import EngineBrokenError
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.ray_internals import be_quiet

NAME: Final = "quire"
CONTROLLER: Final = {"name": "SERVE_CONTROLLER_ACTOR", "namespace": "serve"}  # of a cluster's Ray Serve
HEAD: Final = "node:__internal_head__"  # among the resources of the head alone
QUIET: Final = {"log_level": "ERROR", "enable_access_log": False}


@serve.ingress()
class Application:
    """One Replica: Ray Serve makes it, and passes requests on to its application."""

    def __init__(self, service: ServiceConfig, replica: ReplicaConfig) -> None:
        """Comes back when the model is loaded. Raises EngineBrokenError."""
        self._service: Service = start_service(service, replica)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return make_app(self._service)

    def check_health(self) -> None:
        """Called every few seconds. One that raises is replaced."""
        if self._service.replica.broken is not None:
            raise EngineBrokenError(self._service.replica.broken)


def serve_replicas(
    service: ServiceConfig,
    replica: ReplicaConfig,
    *,
    replicas: int,
    host: str,
    port: int,
    grace_seconds: int,
    ready: str,
) -> None:
    """Serves until SIGTERM or Ctrl-C; says `ready` once all are loaded.

    Raises ValueError: the head cannot listen there; EngineBrokenError; and KeyboardInterrupt: by then they
    are not loaded, or it was a second signal.
    """
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # it tells each step of its own
    deployment: Any = serve.deployment(
        Application,
        name=NAME,
        num_replicas=replicas,
        # Who is too many is told so by the application, not kept waiting in front of it.
        max_ongoing_requests=2 * service.places,
        graceful_shutdown_timeout_s=grace_seconds,
        graceful_shutdown_wait_loop_s=0.1,
        ray_actor_options={
            "num_cpus": 0,  # the cores are the engine's
            "num_gpus": replica.gpus if replica.tensor_parallel == 1 else 0,  # several ranks have theirs
        },
    )
    # Its proxies come seconds later, and may be none: the server would take the other's place and address.
    actors: list[Any] = list_named_actors(all_namespaces=True)
    if CONTROLLER in actors:
        raise ValueError(
            "Ray Serve runs on this cluster already, and has one address for all that it serves: end it by "
            "`serve shutdown`, or serve on another cluster"
        )
    with _ended_with_us():
        _listen(host, port)
        try:
            serve.run(deployment.bind(service, replica), name=NAME, logging_config=QUIET)
        except RuntimeError as error:
            words = str(error).partition("\n")[0]
            raise EngineBrokenError(f"the Replicas do not start: {words}") from error
        with _told_to_end() as ended:
            say(ready)
            ended.wait()
            _finish(grace_seconds)


def head(host: str) -> tuple[bool, str]:
    """Whether Ray's head is this machine; and the host at which it is reached if it listens at `host`."""
    alive: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]
    (found,) = (node for node in alive if HEAD in node["Resources"])
    is_here: bool = found["NodeID"] == ray.get_runtime_context().get_node_id()
    return is_here, host if is_here or host not in ("0.0.0.0", "::") else found["NodeManagerAddress"]


def _listen(host: str, port: int) -> None:
    """Has Ray's head listen. Raises ValueError."""
    try:
        serve.start(
            proxy_location="HeadOnly", http_options={"host": host, "port": port}, logging_config=QUIET
        )
    except (RuntimeError, TimeoutError, RayError) as error:
        raise ValueError(
            f"--host {host} --port {port} cannot be listened on by the head of Ray: choose another one"
        ) from error


def _finish(grace_seconds: int) -> None:
    """Waits until what runs is finished, or the time for that is over."""
    deadline = time.monotonic() + grace_seconds
    while True:
        try:
            serve.delete(NAME)
            return
        except TimeoutError:  # it waits a minute
            if time.monotonic() > deadline:
                return


@contextmanager
def _ended_with_us() -> Iterator[None]:
    """Nothing stays on the cluster."""
    try:
        yield
    finally:
        be_quiet(quiet=True)  # Ray would say that what it ends is tried again
        serve.shutdown()


@contextmanager
def _told_to_end() -> Iterator[Event]:
    """The first SIGTERM or Ctrl-C sets the event, the second raises KeyboardInterrupt."""
    ended = Event()

    def end(number: int, frame: FrameType | None) -> None:
        if ended.is_set():
            raise KeyboardInterrupt
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
