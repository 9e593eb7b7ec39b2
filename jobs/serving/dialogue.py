"""A dialogue at a terminal: texts and images of a person's in, the model's answers out as they are written.

Ctrl-C ends an answer, which stays in the conversation as far as it came; Ctrl-D ends the dialogue. A mistake
is a sentence, and the conversation goes on without it.
"""

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from types import FrameType
from typing import Any, Final

from PIL import Image

from jobs.run.terminal import say, say_error
from jobs.serving.viewing import Viewer
from model.chat import Chat, LongConversationError, Reply

TEXT: Final = "Text prompt: "
IMAGES: Final = "[You can input zero, one or more images now.]"
IMAGE: Final = "Image path or url [Leave empty and press enter to finish image input]: "

Message = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answering:
    """How answers are written."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


class Conversation:
    """What was said so far, with a model that answers."""

    def __init__(self, chat: Chat, answering: Answering, system: str | None) -> None:
        self._chat = chat
        self._answering = answering
        self._said: list[Message] = [{"role": "system", "content": system}] if system else []
        self.images = 0
        """That were shown."""

    def ask(self, text: str, images: list[Image.Image]) -> bool:
        """Prints the answer piece by piece; False if Ctrl-C ended it. Raises ValueError: nothing was said.

        The text stands before the images, as mistral-chat has them.
        """
        said = [*self._said, {"role": "user", "content": [text, *images] if text else images}]
        how = self._answering
        try:
            pieces = self._chat.follow(
                said,
                max_new_tokens=how.max_tokens,
                temperature=how.temperature,
                top_p=how.top_p,
                seed=how.seed,
            )
        except LongConversationError as error:
            raise ValueError(error.sentence("--max-tokens", "--max-side")) from error
        written, reply = "", None
        with _interruptible() as stop:
            while reply is None and not stop.is_set():
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    reply = end.value
                else:
                    written += piece
                    say(piece, sys.stdout, end="")
        pieces.close()
        say("", sys.stdout)
        _remark(reply, how.max_tokens)
        text_so_far = written if reply is None else reply.text
        if text_so_far.strip():
            self._said = [*said, {"role": "assistant", "content": text_so_far}]
            self.images += len(images)
        return reply is not None


def converse(conversation: Conversation, viewer: Viewer) -> None:
    """Asks for texts and images, and answers, until Ctrl-D."""
    import readline  # noqa: F401 - its import lets a person edit lines, and take up earlier ones

    while True:
        try:
            text = input(TEXT)
            if not text.strip():
                continue
            images = _shown_images(viewer, conversation.images)
        except KeyboardInterrupt:
            say("\n[Ctrl-D ends the dialogue.]", sys.stdout)
            continue
        except EOFError:
            say("", sys.stdout)
            return
        try:
            if not conversation.ask(text, images):
                say("[stopped]")
        except ValueError as error:
            say_error(str(error))
        say("", sys.stdout)


def _shown_images(viewer: Viewer, before: int) -> list[Image.Image]:
    """The images that the person names, until an empty line."""
    say(IMAGES, sys.stdout)
    images: list[Image.Image] = []
    while place := input(IMAGE).strip():
        try:
            images += viewer.see(place, before + len(images))
        except ValueError as error:
            say_error(str(error))
    return images


def _remark(reply: Reply | None, max_tokens: int) -> None:
    if reply is None:
        return
    if reply.finish_reason == "length":
        say(f"[cut after {max_tokens} tokens: --max-tokens]")
    if reply.finish_reason == "repetition":
        say("[cut: it went round in a loop]")


@contextmanager
def _interruptible() -> Iterator[Event]:
    """While an answer is written, Ctrl-C sets the event: the engine is never broken off within a step."""
    stop = Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
