"""The reference engine: a plain loop, one branch a step, one token a forward pass.

It is slow and plain on purpose: the tests compare the batch engine with it. A group's prefix is computed
once. A bad request comes back as a completion with finish_reason "error"; `step` never raises for it.

Shapes: T tokens, V vocabulary, W words of 32 tokens.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.cache.contiguous_cache import ContiguousCache
from model.engine.answer import Answer, TokenBytes, check_grammars
from model.engine.repetition import RepetitionLimit
from model.engine.request import (
    Branch,
    Completion,
    FinishReason,
    Group,
    Progress,
    check_branch,
    check_prefix,
    failed,
)
from model.engine.sampling import sample_tokens
from model.executor.executor import REQUEST_ERRORS
from model.network.pixtral import Pixtral
from model.network.preprocess import to_pixels
from model.text.grammar import Grammars


@dataclass
class _Pending:
    """A group in work: its remaining branches and, from its first step on, its computed prefix."""

    group: Group
    branches: deque[Branch]
    prefix: ContiguousCache | None = field(default=None)


class ReferenceEngine:
    """Answers branches one after the other."""

    def __init__(
        self,
        model: Pixtral,
        *,
        eos_id: int,
        grammars: Grammars | None = None,
        token_bytes: TokenBytes | None = None,
        repetition: RepetitionLimit | None = None,
    ) -> None:
        """`grammars` over the model's tokens are needed for branches with a JSON schema, `token_bytes` for
        those with stop strings."""
        check_grammars(grammars, model.config.vocab_size)
        self._model = model
        self._grammars = grammars
        self._token_bytes = token_bytes
        self._eos_id = eos_id
        self._repetition = repetition or RepetitionLimit()
        self._queue: deque[_Pending] = deque()

    @property
    def pending(self) -> int:
        return sum(len(work.branches) for work in self._queue)

    def submit(self, group: Group) -> list[str]:
        ids = [branch.id for branch in group.branches]
        taken = {branch.id for work in self._queue for branch in work.branches}
        if len(set(ids)) < len(ids) or not taken.isdisjoint(ids):
            raise ValueError(f"branch ids must be unique among those pending: {ids}")
        if ids:
            self._queue.append(_Pending(group, deque(group.branches)))
        return ids

    def progress(self) -> list[Progress]:
        return []

    def abort(self, id: str) -> None:
        for work in self._queue:
            if work.group.id == id:
                work.branches.clear()
            work.branches = deque(branch for branch in work.branches if branch.id != id)
        self._queue = deque(work for work in self._queue if work.branches)

    @torch.inference_mode()
    def step(self) -> list[Completion]:
        if not self._queue:
            return []
        work = self._queue[0]
        branch = work.branches.popleft()
        if not work.branches:
            self._queue.popleft()
        try:
            return [self._answer(work, branch)]
        except torch.AcceleratorError:
            raise  # the device is lost, which no request did, and no other could be answered on it
        except REQUEST_ERRORS as error:
            return [failed(work.group, branch, error)]

    def _answer(self, work: _Pending, branch: Branch) -> Completion:
        check_branch(self._model.config, work.group, branch)
        answer = Answer(
            branch,
            eos_id=self._eos_id,
            limit=self._repetition,
            grammars=self._grammars,
            token_bytes=self._token_bytes,
        )
        cached_tokens = 0 if work.prefix is None else work.prefix.length
        if work.prefix is None:
            work.prefix = self._compute_prefix(work.group)
        finish_reason = self._write(answer, work.prefix.branch())
        return Completion(
            id=branch.id,
            token_ids=answer.token_ids,
            logprobs=answer.logprobs,
            finish_reason=finish_reason,
            prompt_tokens=len(work.group.prefix_ids) + len(branch.ids),
            cached_tokens=cached_tokens,
            stopped_at=answer.stopped_at,
            error=answer.why_stuck,
        )

    def _write(self, answer: Answer, cache: ContiguousCache) -> FinishReason:
        ids, matcher = answer.branch.ids, answer.matcher
        while True:
            logits_1V = self._logits(ids, cache)
            masks_1W = None
            if self._grammars is not None and matcher is not None:
                masks = self._grammars.new_masks(1)
                matcher.fill(masks[0])
                masks_1W = torch.from_numpy(masks).to(logits_1V.device)
            setting = (answer.branch.sampling, len(answer.token_ids))
            token_1, logprob_1 = sample_tokens(logits_1V, [setting], masks_1W)
            reason = answer.take(int(token_1), float(logprob_1))
            if reason is not None:
                return reason
            ids = answer.token_ids[-1:]

    def _compute_prefix(self, group: Group) -> ContiguousCache:
        sizes = check_prefix(self._model.config, group)
        cache = ContiguousCache()
        weight = self._model.norm.weight
        images = [
            to_pixels(image, *size, device=weight.device, dtype=weight.dtype)
            for image, size in zip(group.images, sizes, strict=True)
        ]
        if len(group.prefix_ids):
            features_PD = self._model.encode_images(images) if images else None
            x_TD = self._model.embed(self._tensor(group.prefix_ids), features_PD)
            self._model(x_TD, [len(x_TD)], [cache], rows=self._tensor([]))
        return cache

    def _logits(self, ids: Sequence[int], cache: ContiguousCache) -> Tensor:
        """Logits (1, V) of the token after `ids`, which continue the cache."""
        # Not `embed`: an image token that the model itself writes is text, as in transformers.
        x_TD = self._model.tok_embeddings(self._tensor(ids))
        logits_1V: Tensor = self._model(x_TD, [len(ids)], [cache], rows=self._tensor([len(ids) - 1]))
        return logits_1V

    def _tensor(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor(ids, dtype=torch.int64, device=self._model.norm.weight.device)
