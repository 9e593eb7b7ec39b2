"""Talk with the model at a terminal: texts and images in, answers out as they are written.

Without --prompt it asks for a text, then for images, as often as there is something to ask: Ctrl-C ends an
answer, Ctrl-D the dialogue. With --prompt it answers once.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.run.endings import code_of, sentence_of
from jobs.run.model_flags import add_drawing, add_model_or_argument
from jobs.run.parser import Parser
from jobs.run.terminal import say_error, start_output
from jobs.run.web_flags import add_web_flags, web_rules

if TYPE_CHECKING:
    from PIL.Image import Image

    from jobs.serving.dialogue import Answering
    from jobs.serving.viewing import View
    from pipeline.ingest.fetching import WebRules

EPILOG = """\
examples:
  # a dialogue with the model for trying
  python -m jobs.chat

  # one answer
  python -m jobs.chat --prompt "What is the total?" --image samples/documents/receipt.png

  # with the real model, which is downloaded, and images from the web
  python -m jobs.chat mistralai/Pixtral-12B-2409 --allow-http --max-tokens 256 --temperature 0.35

exit code:
  0  all was answered
  2  a mistake in the command, or in a model or an image that it names; 130: stopped by Ctrl-C
"""


def make_parser() -> Parser:
    """All flags of the job."""
    parser = Parser("chat", description=__doc__, epilog=EPILOG)
    add_model_or_argument(parser)
    add = parser.add_argument_group("one question, instead of a dialogue").add_argument
    add("--prompt", metavar="TEXT", help="what is asked")
    add(
        "--image",
        dest="images",
        action="append",
        default=[],
        metavar="PLACE",
        help="a path or an address of an image or a PDF; repeat it for several",
    )
    add = parser.add_argument_group("answers").add_argument
    add("--system", metavar="TEXT", help="system prompt")
    add(
        "--max-tokens",
        type=int,
        default=512,
        metavar="N",
        help="tokens after which an answer is cut (default: %(default)s)",
    )
    add_drawing(add)
    add("--seed", type=int, default=0, metavar="N", help="of the draws (default: %(default)s)")
    add = parser.add_argument_group("images").add_argument
    add(
        "--max-side",
        type=int,
        metavar="PIXELS",
        help="longest edge at which the model sees an image (default: 1024, or what the model can)",
    )
    add(
        "--pages",
        default="1-",
        metavar="RANGE",
        help="the pages of a PDF or TIFF that are shown: 3, 2-5, or 2- to the end (default: all)",
    )
    add(
        "--limit-images",
        type=int,
        default=16,
        metavar="N",
        help="most images and pages of a conversation (default: %(default)s)",
    )
    add_web_flags(add)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    start_output(logging.WARNING)
    try:
        return _chat(make_parser().parse_args(arguments))
    except ValueError as error:
        say_error(sentence_of(error))
        return code_of(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # nobody reads the answer any more, as behind `| head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _chat(given: argparse.Namespace) -> int:
    answering, web = _answering(given), web_rules(given)
    # Only here, so that --help and a mistyped flag answer at once: these import torch.
    from jobs.run.model_fetch import fetch
    from jobs.serving.dialogue import Conversation, converse
    from jobs.serving.viewing import Viewer
    from model.chat import Chat
    from pipeline.infer.device import bound_primitives
    from pipeline.plan.limits import Limits
    from pipeline.plan.model_place import find_model, model_shape
    from pipeline.rasterize.confinement import check_sandbox

    check_sandbox(Limits())
    place = find_model(given.model)
    vision = model_shape(place).vision
    view = _view(given, vision.patch_size, vision.image_size, web)
    viewer = Viewer(view)
    try:
        images: list[Image] = []
        for one in given.images:
            images += viewer.see(one, len(images))
        bound_primitives()
        chat = Chat.load(fetch(place), max_side=view.max_side)
        conversation = Conversation(chat, answering, given.system)
        if given.prompt is not None:
            return 0 if conversation.ask(given.prompt, images) else 130
        converse(conversation, viewer)
        return 0
    finally:
        viewer.close()


def _answering(given: argparse.Namespace) -> "Answering":
    """How answers are written. Raises ValueError for a mistake in the flags of it."""
    from jobs.serving.dialogue import Answering
    from pipeline.config import check_sampling

    for name in ("max_tokens", "limit_images"):
        if getattr(given, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(given, name)}: it must be at least 1")
    check_sampling(given.temperature, given.top_p)
    if given.images and given.prompt is None:
        raise ValueError("--image is about --prompt, which is missing; a dialogue asks for its images")
    for name in ("prompt", "system"):
        if getattr(given, name) is not None and not getattr(given, name).strip():
            raise ValueError(f"--{name} is empty: give it words, or leave it out")
    return Answering(
        max_tokens=given.max_tokens, temperature=given.temperature, top_p=given.top_p, seed=given.seed
    )


def _view(given: argparse.Namespace, patch_size: int, image_size: int, web: "WebRules | None") -> "View":
    """How the model sees images. Raises ValueError for a mistake in the flags of it."""
    from jobs.serving.viewing import View
    from pipeline.config import side_of
    from pipeline.plan.plan import parse_pages

    return View(
        max_side=side_of(given.max_side, patch_size, image_size),
        patch_size=patch_size,
        pages=parse_pages(given.pages),
        limit_images=given.limit_images,
        web=web,
    )


if __name__ == "__main__":
    sys.exit(main())
