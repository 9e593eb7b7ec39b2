"""One server, from its start to its end: the model, a socket, and signals.

In: a ServerConfig. Out: the exit code. The port is taken before the model is loaded, and listened on after
that. SIGTERM or Ctrl-C: nothing new is taken in, what runs is finished within a time, and then cut.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from socket import socket
from typing import Final
from uuid import uuid4

import uvicorn

from jobs.run.endings import FAILED
from jobs.run.model_fetch import fetch
from jobs.run.ray_address import cluster_address
from jobs.run.ray_session import connected
from jobs.run.terminal import say, say_error
from jobs.serving.app import make_app
from jobs.serving.listening import base_url, bound
from jobs.serving.service import ServiceConfig, start_service
from model.config import PixtralConfig, check_fp8_widths, check_tensor_parallel_size
from pipeline.config import check_fp8_gpus, context_of, side_of
from pipeline.infer.ranks import EngineBrokenError
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.ingest.fetching import WebRules
from pipeline.plan.limits import Limits
from pipeline.plan.model_place import ModelPlace, find_model, model_shape
from pipeline.plan.plan import Plan
from pipeline.rasterize.confinement import check_sandbox

# An image is one page, and a client waits for it.
IMAGE_LIMITS: Final = Limits(page_seconds=15, page_bytes=2**30, document_pages=1, document_seconds=60)


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """A server's settings."""

    model: str
    """Folder of the checkpoint, or a name on the hub."""
    host: str
    port: int
    """0: a free one."""
    name: str
    """The model's, as clients call it."""
    images: int
    """Of one request."""
    body_bytes: int
    """Of one request."""
    places: int
    """Answers in work at a time, those that wait included."""
    max_model_len: int | None = None
    """Tokens of a prompt and its answer together. Default: what the model can."""
    api_key: str | None = field(default=None, repr=False)
    """Who has it may ask; None: everybody."""
    web: WebRules | None = None
    """For images at http(s) addresses; None: none is fetched."""
    max_side: int | None = None
    """Longest edge in pixels at which the model sees an image. Default: 1024, or what the model can."""
    tensor_parallel: int = 1
    """GPUs among which the model is shared out."""
    replicas: int = 1
    """Copies of the model, each of which is asked a part of the requests."""
    max_num_seqs: int | None = None
    """Answers that are written at a time. Default: the engine's own bound."""
    dtype: str = "auto"
    cache_dtype: str = "auto"
    grace_seconds: int = 30
    """For what runs when the server is told to end."""
    limits: Limits = field(default=IMAGE_LIMITS)
    """Of an image."""

    @property
    def on_ray(self) -> bool:
        """Whether several processes answer, which Ray starts."""
        return self.tensor_parallel > 1 or self.replicas > 1


def run(config: ServerConfig) -> int:
    """Serves until it is told to end; the exit code, 1 if the engine cannot go on.

    Raises ValueError for a mistake in the settings.
    """
    check_sandbox(config.limits)
    place = find_model(config.model)
    shape = model_shape(place)
    check_tensor_parallel_size(shape, config.tensor_parallel)
    service_config = make_service_config(config, shape)
    plan = make_plan(config, place, shape)
    serve = _serve_one if config.replicas == 1 else _serve_several
    try:
        return serve(config, service_config, plan, shape)
    except EngineBrokenError as error:
        say_error(f"error: {error}")
        return FAILED


def _serve_one(config: ServerConfig, service_config: ServiceConfig, plan: Plan, shape: PixtralConfig) -> int:
    """Serves with one Replica, in this process; the exit code. Raises ValueError, EngineBrokenError."""
    with (
        bound(config.host, config.port) as listener,
        connected() if config.on_ray else nullcontext(),
    ):
        replica_config = make_replica_config(config, plan, shape)
        _load(config, service_config, plan)
        url = base_url(config.host, listener.getsockname()[1])
        server: _Server

        def stop() -> None:
            server.should_exit = True

        service = start_service(service_config, replica_config, stop)
        server = _Server(
            uvicorn.Config(
                make_app(service),
                http="h11",
                ws="none",
                loop="asyncio",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=config.grace_seconds,
            ),
            _ready(service_config, url),
        )
        with _signals_end_it(stop):
            server.run(sockets=[listener])
        if service.replica.broken is not None:
            raise EngineBrokenError(service.replica.broken)
    return 0


def _serve_several(
    config: ServerConfig, service_config: ServiceConfig, plan: Plan, shape: PixtralConfig
) -> int:
    """Serves with Replicas on Ray; the exit code. Raises ValueError, EngineBrokenError."""
    port = config.port
    with ExitStack() as stack:
        if is_private := cluster_address() is None:  # a port that is taken is said before Ray starts
            listener = stack.enter_context(bound(config.host, port, shared=True))
            port = listener.getsockname()[1]
        stack.enter_context(connected())
        from jobs.serving.replicas import head, serve_replicas  # brings Ray

        is_here, host = head(config.host)
        if not is_private and is_here:
            with bound(config.host, port) as listener:  # not held: the head may be another user's
                port = listener.getsockname()[1]
        if not port:
            raise ValueError("--port 0: the head of the Ray cluster listens, on another machine: name a port")
        replica_config = make_replica_config(config, plan, shape)
        _load(config, service_config, plan)
        serve_replicas(
            service_config,
            replica_config,
            replicas=config.replicas,
            host=config.host,
            port=port,
            grace_seconds=config.grace_seconds,
            ready=_ready(service_config, base_url(host, port)),
        )
    return 0


def _load(config: ServerConfig, service_config: ServiceConfig, plan: Plan) -> None:
    """Fetches the model, and says what comes. Raises ValueError."""
    warn_of_strangers(config.host, service_config)
    if not config.on_ray or cluster_address() is None:
        fetch(plan.model)  # on a cluster, each machine does that when it needs the model
    say(f"loading {config.model}")


def _ready(config: ServiceConfig, url: str) -> str:
    return f"serving {config.name} at {url}"


class _Server(uvicorn.Server):
    """Says where it listens, once it does."""

    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        say(self._ready)


def make_service_config(config: ServerConfig, shape: PixtralConfig) -> ServiceConfig:
    """What is answered, of this model. Raises ValueError."""
    return ServiceConfig(
        name=config.name,
        context=context_of(config.max_model_len, shape.max_position_embeddings),
        images=config.images,
        body_bytes=config.body_bytes,
        places=config.places,
        api_key=config.api_key,
        web=config.web,
    )


def make_plan(config: ServerConfig, place: ModelPlace, shape: PixtralConfig) -> Plan:
    """The plan of a Replica that is asked by requests alone. Raises ValueError."""
    return Plan(
        run_id=f"serve-{uuid4().hex[:8]}",
        asks=(),
        max_pages=1,
        pages=(1, None),
        max_side=side_of(config.max_side, shape.vision.patch_size, shape.vision.image_size),
        model=place,
        patch_size=shape.vision.patch_size,
        vocab_size=shape.vocab_size,
        limits=config.limits,
        roots=(),
        passwords=(),
    )


def make_replica_config(config: ServerConfig, plan: Plan, shape: PixtralConfig) -> ReplicaConfig:
    """Each Replica: on the first GPU or on all cores, or on Ray, which is connected. Raises ValueError."""
    import torch  # only to see whether there is a GPU; the engine's process computes

    gpus, threads = int(torch.cuda.is_available()), len(os.sched_getaffinity(0))
    if config.on_ray:
        from pipeline.infer.placement import placement_here

        there = placement_here(
            replicas=config.replicas, batch_size=None, tensor_parallel=config.tensor_parallel
        )
        gpus, threads = there.gpus, there.threads
    check_fp8_gpus(gpus, config.dtype, config.cache_dtype)
    if config.dtype == "fp8":
        check_fp8_widths(shape, config.tensor_parallel)
    return ReplicaConfig(
        plan=plan,
        tensor_parallel=config.tensor_parallel,
        gpus=gpus,
        threads=threads,
        dtype=config.dtype,
        cache_dtype=config.cache_dtype,
        max_num_seqs=config.max_num_seqs,
        max_model_len=config.max_model_len,
    )


def warn_of_strangers(host: str, config: ServiceConfig) -> None:
    """Says so where others than this machine's users can ask without a key."""
    if config.api_key is None and host not in ("127.0.0.1", "::1", "localhost"):
        say(f"everybody who reaches {host} may ask: --api-key, or QUIRE_API_KEY, wants a key of them")


@contextmanager
def _signals_end_it(stop: Callable[[], None]) -> Iterator[None]:
    """uvicorn ends at SIGINT and SIGTERM, and raises them again once it has: by then `stop` means nothing.

    Before it listens to them, `stop` has it end.
    """

    def end(number: int, frame: object) -> None:
        stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
