"""Requests a second of the server, and the time to the first token, against its engine alone.

The engine is given all prompts at once. Then `jobs.serve` runs as a command of its own, and 1, 8 and 64
clients stream answers to the same work over HTTP: a page as JPEG in each request, no page twice, answers of a
forced length. With --shape a checkpoint of that shape with random weights is written first.
"""

import argparse
import base64
import http.client
import io
import json
import multiprocessing
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from jobs.bench.flags import add_model, new_parser
from jobs.bench.job import write_checkpoint_apart
from jobs.bench.models import SHAPES, this_device, tokenizer_file
from jobs.bench.page_images import draw_page
from jobs.bench.printing import machine, print_json, print_table
from jobs.run.ray_session import ROOT
from jobs.run.terminal import say
from jobs.serving.prompts import Limits, Prompts
from jobs.serving.requests import ChatRequest, parse
from jobs.serving.server import ServerConfig, make_plan, make_replica_config
from model.checkpoint import load_model
from model.engine.request import Group
from model.text.tokenizer import Tokenizer
from pipeline.infer.device import take_device
from pipeline.infer.engine_factory import make_engine
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.plan import model_place
from pipeline.plan.model_place import find_model, model_folder, model_shape

WARM = 8  # requests before anything is timed
MOST_TOKENS = 256  # beyond, random weights may be cut as a loop
QUESTION = "What is the total amount shown on this page? Answer with the number only, please."
PATH = "/v1/chat/completions"

Row = dict[str, Any]


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("serve", __doc__)
    add_model(parser)
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 64], help="at a time")
    parser.add_argument("--requests", type=int, default=64, help="of each row")
    parser.add_argument("--tokens", type=int, default=16, help="length of every answer in tokens")
    parser.add_argument("--side", type=int, default=1024, help="longest edge of a page in pixels")
    parser.add_argument(
        "--folder",
        type=Path,
        help="for the checkpoint (24 GB for pixtral-12b) while it runs; default: the system's for temporary "
        "files",
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """A row for the engine alone, and one for each number of clients."""
    for name in ("requests", "tokens"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} {getattr(arguments, name)}: it must be at least 1")
    if arguments.tokens > MOST_TOKENS:
        raise ValueError(f"--tokens {arguments.tokens}: it must be {MOST_TOKENS} at most")
    if min(arguments.clients) < 1 or arguments.side < 64:
        raise ValueError("--clients must be at least 1, and --side at least 64")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        model = arguments.model
        if arguments.shape:
            model = Path(folder) / "model"
            _say("writing the checkpoint")
            write_checkpoint_apart(
                SHAPES[arguments.shape], tokenizer_file(arguments.model, arguments.shape), model
            )
        rows = compare(model, arguments)
    on = machine(this_device())
    title = f"{arguments.requests} requests to {arguments.shape or arguments.model} on {on}"
    print_table(title, rows, left=("who",))
    settings = {name: getattr(arguments, name) for name in ("requests", "tokens", "side")}
    print_json("serve", rows, machine=on, **settings)


def compare(model: Path, arguments: argparse.Namespace) -> list[Row]:
    """The rows; each has pages of its own, so that none finds what was computed for another."""
    _say("drawing the pages")
    counts = {"engine": arguments.requests, "warm engine": WARM, "warm": WARM}
    counts |= {f"{count} clients": arguments.requests for count in arguments.clients}
    seeds = [f"{name}/{number}" for name, most in counts.items() for number in range(most)]
    draw = partial(_body, side=arguments.side, tokens=arguments.tokens)
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as processes:
        drawn = iter(list(processes.map(draw, seeds, chunksize=8)))
    bodies = {name: list(islice(drawn, most)) for name, most in counts.items()}

    _say("starting the engine alone")
    seconds = offline(model, arguments.side, bodies["warm engine"], bodies["engine"])
    alone = arguments.requests / seconds
    rows = [_row("engine alone", arguments, seconds, alone, [])]
    _say(rows[-1])
    _say("starting the server")
    with serving(model, arguments.side, max(arguments.clients)) as port:
        clients(port, bodies["warm"], WARM)
        for count in arguments.clients:
            seconds, firsts = clients(port, bodies[f"{count} clients"], count)
            rows.append(_row(f"{count} clients", arguments, seconds, alone, firsts))
            _say(rows[-1])
    return rows


def _say(what: str | Row) -> None:
    """Progress: with a large model each step takes a minute or more."""
    say(f"{time.strftime('%H:%M:%S')} {what}")


def _row(
    who: str, arguments: argparse.Namespace, seconds: float, alone: float, firsts: Sequence[float]
) -> Row:
    speed = arguments.requests / seconds
    late = quantiles(firsts, n=20)[-1] if len(firsts) > 1 else None
    return {
        "who": who,
        "seconds": round(seconds, 2),
        "requests_per_second": round(speed, 2),
        "tokens_per_second": round(speed * arguments.tokens, 1),
        "of_the_engine": round(speed / alone, 3),
        "first_token_ms": round(1e3 * median(firsts)) if firsts else None,
        "first_token_ms_95th": None if late is None else round(1e3 * late),
    }


def _body(seed: str, side: int, tokens: int) -> bytes:
    """A request about a page of its own."""
    page = draw_page(side * 49 // 64, side, seed, chart=False)
    file = io.BytesIO()
    page.save(file, "JPEG", quality=90)
    url = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    messages = [{"role": "user", "content": content}]
    options = {"max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
    return json.dumps({"messages": messages} | options).encode()


def offline(model: Path, side: int, warm: Sequence[bytes], bodies: Sequence[bytes]) -> float:
    """Seconds in which an engine in a process of its own answers them, whose images are decoded before."""

    config = ServerConfig(
        model=str(model), host="", port=0, name="", images=1, body_bytes=0, places=1, max_side=side
    )
    place = find_model(str(model))
    shape = model_shape(place)
    plan = make_plan(config, place, shape)
    tokenizer = Tokenizer.from_file(model_place.tokenizer_file(place), shape.vocab_size)
    limits = Limits(context=shape.max_position_embeddings, images=1)
    prompts = Prompts(plan, tokenizer, limits, sandboxes=1)
    groups = [_group(prompts, f"{number}", body) for number, body in enumerate([*warm, *bodies])]
    prompts.close()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    replica = make_replica_config(config, plan, shape)
    process = multiprocessing.get_context("spawn").Process(
        target=_answer, args=(replica, groups[: len(warm)], groups[len(warm) :], theirs)
    )
    process.start()
    theirs.close()
    try:
        seconds: float = ours.recv()
    except EOFError:
        raise ValueError("the engine's process ended: see above") from None
    finally:
        process.join()
    return seconds


def _group(prompts: Prompts, name: str, body: bytes) -> Group:
    request = parse(body, ChatRequest)
    return prompts.chat(name, request, prompts.turns(request), {})


def _answer(config: ReplicaConfig, warm: Sequence[Group], groups: Sequence[Group], pipe: Connection) -> None:
    device, dtype = take_device(config)
    engine = make_engine(load_model(model_folder(config.plan.model), device=device, dtype=dtype), config)
    seconds = 0.0
    for some in (warm, groups):
        started = time.perf_counter()
        for group in some:
            engine.submit(group)
        while engine.pending:
            for completion in engine.step():
                if completion.error:
                    raise RuntimeError(completion.error)
        seconds = time.perf_counter() - started
    pipe.send(seconds)


@contextmanager
def serving(model: Path, side: int, clients: int) -> Iterator[int]:
    """The port of a server, which ends with the block."""
    flags = ("--model", str(model.absolute()), "--port", "0", "--max-side", str(side))
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.serve", *flags, "--max-queue", str(max(256, clients))],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process, ThreadPoolExecutor(1) as reader:
        try:
            port = port_of(process)
            assert process.stderr
            reader.submit(process.stderr.read)  # the server must never wait for somebody to read it
            yield port
        finally:
            process.terminate()


def port_of(server: subprocess.Popen[str]) -> int:
    """The port at which a server that was started listens, once it does. Raises ValueError if it ends."""
    assert server.stderr
    said = ""
    while not (found := re.search(r"at http://127\.0\.0\.1:(\d+)/v1", said)):
        line = server.stderr.readline()
        if not line:
            raise ValueError(f"the server ended: {said}")
        said += line
    return int(found[1])


def clients(port: int, bodies: Sequence[bytes], count: int) -> tuple[float, list[float]]:
    """The seconds until all are answered by so many clients, and those to each one's first token."""
    started = time.perf_counter()
    with ThreadPoolExecutor(count) as threads:
        firsts = list(threads.map(lambda body: _ask(port, body), bodies))
    return time.perf_counter() - started, firsts


def _ask(port: int, body: bytes) -> float:
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        started = time.perf_counter()
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        with connection.getresponse() as reply:
            if reply.status != 200:
                raise ValueError(f"status {reply.status}: {reply.read().decode()}")
            first = 0.0
            reason = None
            for line in reply:
                if not first:
                    first = time.perf_counter() - started
                if line.startswith(b'data: {"error"'):
                    raise ValueError(line.decode())
                if line.startswith(b"data: {"):
                    choices = json.loads(line[6:])["choices"]
                    reason = choices[0]["finish_reason"] or reason
    if reason != "length":
        raise ValueError(f"an answer ended with {reason}, and not at its full length")
    return first
