"""An engine's requests and answers: prompt groups, completions, and the interface of engines.

A group is a prefix (text and images) and the branches that continue it, one for each question. Token ids in,
token ids out: no tokenizer here. The checks find what is wrong with a request before anything is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from model.config import PixtralConfig
from model.engine.sampling_params import SamplingParams
from model.network.image_grid import fit

FinishReason = Literal["stop", "length", "repetition", "grammar", "error"]


class ContextLengthError(ValueError):
    """Prompt and answer do not fit into the model's context.

    The class's name becomes the reason `context_length_error` in failures.
    """


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One question of a group."""

    id: str
    """The caller's name for it, unique among those pending."""
    ids: Sequence[int]
    """Tokens after the group's prefix: at least one, and no image token."""
    max_new_tokens: int
    """Decoding stops after so many tokens of the answer."""
    sampling: SamplingParams = field(default=SamplingParams())
    """How tokens are chosen. Default: greedily."""
    grammar: str | None = None
    """A JSON schema, as text: the answer is JSON that follows it. None: any text."""
    stop: Sequence[str] = ()
    """Decoding stops when the answer holds one of these texts, which are no part of it."""
    stream: bool = False
    """Whether its tokens are told while it is written: see `Engine.progress`."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """A shared prefix and the questions that branch from it."""

    id: str
    """The caller's name for it, for `abort`."""
    prefix_ids: Sequence[int]
    """Tokens with which every branch begins, among them a token for each patch of each image."""
    images: Sequence[np.ndarray]
    """uint8 (height, width, 3), of any size, in the order of their tokens."""
    branches: Sequence[Branch]
    """The questions, answered in this order."""
    max_side: int
    """Larger images are shrunk to this longest side, in pixels. The prefix must be written for the same."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """The answer to one branch."""

    id: str
    """The branch's id."""
    token_ids: list[int]
    """The tokens that the model wrote, without the end of sequence."""
    logprobs: list[float]
    """The log-probability of each token, among all tokens, even those that the grammar forbade, at
    temperature 1."""
    finish_reason: FinishReason
    """stop: the model ended, its JSON is complete, or a stop string came; length: max_new_tokens is reached;
    repetition: a loop was cut; grammar: no token could follow; error: see `error`, and there are no tokens.
    """
    prompt_tokens: int
    """Tokens of prefix and branch."""
    cached_tokens: int
    """Those prompt tokens that had been computed for another branch."""
    stopped_at: int | None = None
    """Bytes of the answer before the stop string that ended it, which is in its tokens; None: none did."""
    error: str | None = None
    """The fault of the request, or the reason why no token could follow."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Tokens of an answer that is not complete."""

    id: str
    """The branch's id."""
    start: int
    """Tokens of the answer before these."""
    token_ids: list[int]
    logprobs: list[float]


class Engine(Protocol):
    """The interface that callers drive: submit groups, then step while anything is pending."""

    @property
    def pending(self) -> int:
        """Branches submitted and neither completed nor aborted."""

    def submit(self, group: Group) -> list[str]:
        """Takes a group; returns the ids of its completions, which are those of its branches.

        ValueError if a branch of the same id is pending: their completions could not be told apart.
        """

    def step(self) -> list[Completion]:
        """Does some work; returns the completions that it finished, in any order."""

    def progress(self) -> list[Progress]:
        """The tokens since the last call, of branches that stream and are not complete. Each is told once.

        An engine that writes an answer in one step has none to tell.
        """

    def abort(self, id: str) -> None:
        """Forgets a branch, or the remaining branches of a group. Unknown ids are taken to be finished."""


def failed(group: Group, branch: Branch, error: Exception) -> Completion:
    """The completion of a branch that could not be answered."""
    return Completion(
        id=branch.id,
        token_ids=[],
        logprobs=[],
        finish_reason="error",
        prompt_tokens=len(group.prefix_ids) + len(branch.ids),
        cached_tokens=0,
        error=f"{type(error).__name__}: {error}",
    )


def check_branch(config: PixtralConfig, group: Group, branch: Branch) -> None:
    """ValueError if this branch of the group cannot be answered by this model."""
    _check_ids(config, "ids", branch.ids)
    if not len(branch.ids):
        raise ValueError("ids is empty: leave at least the last token of the prompt to the branch")
    if config.vision.image_token_id in branch.ids:
        raise ValueError("ids holds an image token: images belong to the group's prefix")
    if branch.max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {branch.max_new_tokens}: it must be at least 1")
    if "" in branch.stop:
        raise ValueError("a stop string is empty: leave it out")
    tokens = len(group.prefix_ids) + len(branch.ids)
    if tokens + branch.max_new_tokens > config.max_position_embeddings:
        raise ContextLengthError(
            f"the prompt has {tokens:,} tokens and the answer may have {branch.max_new_tokens:,}, and the "
            f"model's context holds {config.max_position_embeddings:,}: ask in fewer words, about fewer "
            "pages (--max-pages) or smaller ones (--max-side), or lower --max-new-tokens"
        )


def check_prefix(config: PixtralConfig, group: Group) -> list[tuple[int, int]]:
    """The (height, width) at which the model sees each image. ValueError if the prefix does not fit them."""
    _check_ids(config, "prefix_ids", group.prefix_ids)
    vision = config.vision
    if group.max_side > vision.image_size:
        raise ValueError(
            f"max_side {group.max_side} is above the model's image_size, {vision.image_size}: lower it"
        )
    side = vision.patch_size
    expected: list[int] = []
    sizes = []
    for image in group.images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"image of {image.dtype} {image.shape}: expected uint8 (height, width, 3)")
        height, width = fit(*image.shape[:2], max_side=group.max_side, patch_size=side)
        row = [vision.image_token_id] * (width // side)
        expected += [*row, vision.image_break_token_id] * (height // side - 1)
        expected += [*row, vision.image_end_token_id]
        sizes.append((height, width))
    marks = {vision.image_token_id, vision.image_break_token_id, vision.image_end_token_id}
    if [token for token in group.prefix_ids if token in marks] != expected:
        raise ValueError(
            f"the prefix's image tokens are not those of {len(group.images)} images at max_side "
            f"{group.max_side}: write them with Tokenizer.image_ids from the grid of each image"
        )
    return sizes


def _check_ids(config: PixtralConfig, name: str, ids: Sequence[int]) -> None:
    outside = [token for token in ids if not 0 <= token < config.vocab_size]
    if outside:
        raise ValueError(f"{name} holds {outside[:5]}: token ids are 0 to {config.vocab_size - 1}")
