"""Answer OpenAI's requests over HTTP: chat completions with images, streamed or whole, by one model.

Listens on this machine alone unless --host says otherwise. It prints its address once the model is loaded.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from jobs.run.endings import INTERRUPTED, MISTAKE, code_of, sentence_of
from jobs.run.model_flags import add_engine, add_model_or_argument
from jobs.run.parser import Parser
from jobs.run.signals import sigterm_stops
from jobs.run.terminal import say_error, start_output
from jobs.run.web_flags import add_web_flags
from pipeline.extras import missing

KEY = "QUIRE_API_KEY"
EPILOG = f"""\
examples:
  # the small model that comes with Quire, on this machine alone
  python -m jobs.serve

  # the real one, shared out among two GPUs
  python -m jobs.serve mistralai/Pixtral-12B-2409 --tensor-parallel 2

  # for others who have the key in {KEY}
  python -m jobs.serve --model ~/models/Pixtral-12B-2409 --host 0.0.0.0 --port 8000

paths:
  POST /v1/chat/completions   messages with text and images, in OpenAI's form
  POST /v1/completions        a text, or tokens, that go on
  GET  /v1/models             the model's name
  GET  /health                200 while it answers
  GET  /metrics               counts, in Prometheus's form

SIGTERM or Ctrl-C: what runs is finished within --grace seconds; a second Ctrl-C ends at once.

exit code:
  0    it was told to end
  1    the engine cannot go on
  2    a mistake in the command, or in the model that it names; nothing was started
  130  by SIGTERM or Ctrl-C while the model was loaded, or by a second one
"""


def make_parser() -> Parser:
    """All flags of the job."""
    parser = Parser("serve", description=__doc__, epilog=EPILOG)
    add_model_or_argument(parser)
    add = parser.add_argument_group("address").add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    add("--port", type=int, default=8000, help="port; 0 takes a free one (default: %(default)s)")
    add(
        "--api-key",
        metavar="KEY",
        help="the key that clients have to send. Other users of this machine can read it in the list of "
        f"processes; the variable {KEY} keeps it out of it",
    )
    add("--grace", type=int, default=30, metavar="SECONDS", help="to finish what runs (default: %(default)s)")

    add = parser.add_argument_group("how it is served").add_argument
    add(
        "--served-model-name",
        metavar="NAME",
        help="what clients call it (default: owner/name, or its folder's name)",
    )
    add_engine(add)
    add(
        "--replicas",
        type=int,
        default=1,
        metavar="M",
        help="copies of the model behind one address, through Ray Serve (default: %(default)s, without it)",
    )

    add = parser.add_argument_group("limits, beyond which a request is refused").add_argument
    add(
        "--limit-images", type=int, default=16, metavar="N", help="images of a request (default: %(default)s)"
    )
    add("--max-body", type=int, default=32, metavar="MIB", help="size of a request (default: %(default)s)")
    add(
        "--max-queue",
        type=int,
        default=256,
        metavar="N",
        help="answers in work or waiting; beyond, clients are told to come again (default: %(default)s)",
    )
    add_web_flags(add)
    add(
        "--require-sandbox",
        action="store_true",
        help="refuse a machine that lacks a part of the sandbox in which images are decoded",
    )
    parser.take_config_file()
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves; returns the exit code."""
    start_output(logging.WARNING)
    try:
        given = make_parser().parse_args(arguments)
        check(given)
        # Only here, so that --help answers at once and without the extra.
        from jobs.serving.flags import config_of
        from jobs.serving.server import run

        with sigterm_stops():  # until it serves
            return run(config_of(given, os.environ.get(KEY)))
    except ModuleNotFoundError as error:
        say_error(f"error: {missing(error, 'serve')}")
        return MISTAKE
    except ValueError as error:
        say_error(sentence_of(error))
        return code_of(error)
    except KeyboardInterrupt:
        say_error("stopped before it was done")
        return INTERRUPTED


def check(given: argparse.Namespace) -> None:
    """Raises ValueError for a number that cannot be meant."""
    if not 0 <= given.port < 2**16:
        raise ValueError(f"--port {given.port}: it must be 0 to {2**16 - 1}")
    counts = ("max_side", "tensor_parallel", "replicas", "max_num_seqs", "max_model_len")
    for name in (*counts, "limit_images", "max_body", "max_queue"):
        value = getattr(given, name)
        least = 0 if name == "limit_images" else 1
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} {value}: it must be at least {least}")
    if given.grace < 0:
        raise ValueError(f"--grace {given.grace}: it must be at least 0")
    if given.api_key == "":
        raise ValueError("--api-key is empty: give it a key, or leave it out")


if __name__ == "__main__":
    sys.exit(main())
