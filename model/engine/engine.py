"""The batch engine: answers many groups at once, with continuous batching over a paged KV cache.

In: groups. Out: completions. The scheduler decides which tokens a step computes. The engine finds the tokens
and image features of that plan, has the model runner compute it, and appends the sampled tokens to their
answers. On a GPU, scheduling is asynchronous: while the device computes a step, the host plans and launches
the next one, whose newest tokens only the device knows, and only then reads the tokens that the first step
sampled.

A bad request comes back as a completion with finish_reason "error"; `step` never raises for it. An answer
equals ReferenceEngine's, whatever else is in the batch.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
import torch
from torch import Tensor

from model.cache.plan import BranchSize, Chunk, Plan
from model.config import PixtralConfig
from model.engine.answer import Answer, TokenBytes, check_grammars
from model.engine.block_pool import BlockPool
from model.engine.config import EngineConfig
from model.engine.prefix_images import ImageEncoder, Prefix, PrefixImage
from model.engine.request import Branch, Completion, Group, Progress, check_branch, check_prefix, failed
from model.engine.runner import Flight, Job, ModelRunner, Sampled
from model.engine.scheduler import Scheduler
from model.executor.executor import REQUEST_ERRORS, Executor, check_device
from model.executor.factory import GPU_ENCODE_PATCHES, make_executor, max_num_batched_tokens, ranks_of
from model.network.pixtral import Pixtral
from model.text.grammar import Grammars


@dataclass(eq=False)
class _GroupInWork:
    """A group that has been submitted, and has branches to complete."""

    group: Group
    prefix: Prefix
    answers: dict[str, Answer]
    """The answers of its branches that are not complete, by id."""
    found: int | None = None
    """Tokens of the prefix that were in the cache when its computation began; None before that."""
    cached: dict[str, int] = field(default_factory=dict)
    """For each branch that has started, its prompt tokens that were computed for another branch."""

    def start(self, branch: str) -> None:
        """Counts the branch's cached tokens: the first branch to start pays for the prefix."""
        if branch not in self.cached:
            paid = not self.cached and self.found is not None
            self.cached[branch] = self.found or 0 if paid else len(self.prefix.ids)
            self.prefix.drop(len(self.prefix.ids))  # all of it may have been found: then no chunk did this


class BatchEngine:
    """Answers all branches of all submitted groups, as many at a time as its cache and its limits allow."""

    def __init__(
        self,
        model: Pixtral,
        *,
        eos_id: int,
        grammars: Grammars | None = None,
        token_bytes: TokenBytes | None = None,
        config: EngineConfig | None = None,
        executor: Executor | None = None,
    ) -> None:
        """`grammars` over the model's tokens are needed for branches with a JSON schema, `token_bytes` for
        those with stop strings; `executor` is given where several ranks compute, and was made with
        `config.executor`."""
        check_grammars(grammars, model.config.vocab_size)
        config = config or EngineConfig()
        weight: Tensor = model.get_parameter("layers.0.attention.wk.weight")
        on_gpu = weight.is_cuda
        self._max_num_batched_tokens = max_num_batched_tokens(config.executor, weight)
        self._like = weight.new_empty(0)
        self._model_config = _bounded(model.config, config.max_model_len)
        self._eos_id = eos_id
        self._grammars = grammars
        self._token_bytes = token_bytes
        self._config = config
        self._async_scheduling = on_gpu if config.async_scheduling is None else config.async_scheduling
        self._encode_patches = (
            (GPU_ENCODE_PATCHES * ranks_of(model) if on_gpu else 0)
            if config.encode_patches is None
            else config.encode_patches
        )
        self._executor = make_executor(model, config.executor) if executor is None else executor
        blocks = BlockPool(self._executor.cache.blocks, self._executor.cache.size)
        self._runner = ModelRunner(self._executor, grammars, self._like.device)
        self._scheduler = Scheduler(
            blocks,
            max_num_batched_tokens=self._max_num_batched_tokens,
            max_num_seqs=config.executor.max_num_seqs,
            reserve=config.reserve,
        )
        self._cache_tokens = blocks.count * blocks.size
        self._keys = count()
        self._groups: dict[int, _GroupInWork] = {}
        self._branches: dict[str, tuple[int, _GroupInWork]] = {}  # by branch id, with the group's key
        self._unscheduled: OrderedDict[int, _GroupInWork] = (
            OrderedDict()
        )  # the scheduler does not know them yet
        self._refused: list[tuple[str, Completion]] = []  # with the id of the group
        self._streamed: dict[str, int] = {}  # branches with new tokens to tell, and how many were told before
        self._flight = Flight()
        self._encoder = ImageEncoder(self._executor.encode, self._like)
        self.timeline: list[tuple[torch.cuda.Event, torch.cuda.Event]] | None = None
        """If set to a list, on a GPU: an event at the beginning and at the end of each step's work there."""

    @property
    def pending(self) -> int:
        return len(self._branches) + len(self._refused)

    @property
    def preemptions(self) -> int:
        """How often a sequence was preempted since the engine was made."""
        return self._scheduler.preemptions

    def submit(self, group: Group) -> list[str]:
        ids = [branch.id for branch in group.branches]
        taken = {*self._branches, *(completion.id for _, completion in self._refused)}
        if len(set(ids)) < len(ids) or not taken.isdisjoint(ids):
            raise ValueError(f"branch ids must be unique among those pending: {ids}")
        config = self._model_config
        try:
            sizes = check_prefix(config, group)
        except ValueError as error:
            self._refused += [(group.id, failed(group, branch, error)) for branch in group.branches]
            return ids
        good: dict[str, Answer] = {}
        for branch in group.branches:
            try:
                check_branch(config, group, branch)
                self._check_room(group, branch)
                good[branch.id] = self._answer(branch)
            except ValueError as error:
                self._refused.append((group.id, failed(group, branch, error)))
        if good:
            vision = config.vision
            prefix = Prefix.of(group, sizes, vision.image_token_id, vision.patch_size)
            self._add(group, prefix, good)
        return ids

    def written(self, branch: str) -> list[int]:
        """The tokens so far of a branch that is pending; none of one that waits, or is not pending."""
        found = self._branches.get(branch)
        return list(found[1].answers[branch].token_ids) if found else []

    def progress(self) -> list[Progress]:
        told, self._streamed = self._streamed, {}
        answers = [(id, start, self._branches[id][1].answers[id]) for id, start in told.items()]
        return [
            Progress(id=id, start=start, token_ids=one.token_ids[start:], logprobs=one.logprobs[start:])
            for id, start, one in answers
        ]

    def abort(self, id: str) -> None:
        self._refused = [one for one in self._refused if id not in (one[0], one[1].id)]
        branches = [id] if id in self._branches else []
        for work in [*self._groups.values(), *self._unscheduled.values()]:
            if work.group.id == id:
                branches += list(work.answers)
        for branch in dict.fromkeys(branches):
            self._forget(branch)

    @torch.inference_mode()
    def step(self) -> list[Completion]:
        done, self._refused = [completion for _, completion in self._refused], []
        self._schedule()
        plan = self._scheduler.plan()
        began = self._mark() if plan.chunks else None
        self._runner.copy(plan.copies)
        done += self._encode(plan)
        jobs = [job for chunk in plan.chunks if (job := self._job(chunk)) is not None]
        launched = self._runner.launch(jobs, self._flight)
        done += self._collect()
        for job, error in launched.failed:
            done += self._fail(job, error)
        self._scheduler.commit(plan)
        for job in jobs:
            self._pass_images(job)
        self._flight = self._runner.sample(launched)
        if began is not None and self.timeline is not None and (ended := self._mark()) is not None:
            self.timeline.append((began, ended))
        if not self._async_scheduling:
            done += self._collect()
        return done

    def _mark(self) -> torch.cuda.Event | None:
        """An event at the device's present place in its work; None unless a timeline is kept."""
        if self.timeline is None:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _schedule(self) -> None:
        """Gives the scheduler the groups of the next steps only: it looks at all of its groups every step."""
        while self._unscheduled and self._scheduler.queued < 2 * max(
            self._max_num_batched_tokens, self._encode_patches
        ):
            key, work = self._unscheduled.popitem(last=False)
            self._groups[key] = work
            sizes = []
            for branch, answer in work.answers.items():
                tokens = len(work.prefix.ids) + len(answer.branch.ids)
                limit = tokens + answer.branch.max_new_tokens
                sizes.append(BranchSize(key=branch, tokens=tokens, limit=limit))
            names = work.prefix.names(self._executor.cache.size)
            self._scheduler.add(key, tokens=len(work.prefix.ids), names=names, branches=sizes)

    def _collect(self) -> list[Completion]:
        """Waits for the tokens of the last launched step; returns the completions that they bring."""
        flight, self._flight = self._flight, Flight()
        return [completion for job, sampled in flight.wait() for completion in self._take(job, sampled)]

    def _check_room(self, group: Group, branch: Branch) -> None:
        tokens = len(group.prefix_ids) + len(branch.ids) + branch.max_new_tokens
        if not self._scheduler.fits(tokens):
            raise ValueError(
                f"prompt and answer may need {tokens} tokens and the cache holds {self._cache_tokens}: lower "
                "max_new_tokens, max_side or the pages of a group, or give the engine a larger cache"
            )

    def _answer(self, branch: Branch) -> Answer:
        return Answer(
            branch,
            eos_id=self._eos_id,
            limit=self._config.repetition,
            grammars=self._grammars,
            token_bytes=self._token_bytes,
        )

    def _add(self, group: Group, prefix: Prefix, answers: dict[str, Answer]) -> None:
        key = next(self._keys)
        self._unscheduled[key] = work = _GroupInWork(group, prefix, answers)
        self._branches |= dict.fromkeys(answers, (key, work))

    def _forget(self, branch: str, *, finished: bool = False) -> None:
        key, work = self._branches.pop(branch)
        self._streamed.pop(branch, None)
        if finished:
            self._scheduler.finish(branch)
        elif key in self._groups:
            self._scheduler.remove(branch)
        del work.answers[branch]
        if not work.answers:
            self._groups.pop(key, None)
            self._unscheduled.pop(key, None)

    def _encode(self, plan: Plan) -> list[Completion]:
        """Encodes the images that the plan needs; returns completions of groups whose images failed."""
        needed: dict[PrefixImage, int] = {}
        for chunk in plan.chunks:
            if isinstance(chunk.key, int):
                images = self._groups[chunk.key].prefix.needed(chunk.start, chunk.start + chunk.count)
                needed |= {image: chunk.key for image in images if not self._encoder.has_features(image)}
        if not needed:
            return []
        try:
            self._encoder.encode([*needed, *self._encoded_ahead(needed)])
            return []
        except torch.AcceleratorError:
            raise
        except REQUEST_ERRORS:
            check_device(self._like.device)
            return self._encode_one_by_one(needed)

    def _encoded_ahead(self, needed: Iterable[PrefixImage]) -> list[PrefixImage]:
        """Images of the next waiting groups, while the encoder's batch has room; of equal ones for one."""
        room = self._encode_patches - sum(len(image.positions) for image in needed)
        counted = {image.digest for image in needed}
        ahead: list[PrefixImage] = []
        for key in self._scheduler.queue:
            assert isinstance(key, int), key
            prefix = self._groups[key].prefix
            for image in prefix.needed(self._scheduler.cached(key), len(prefix.ids)):
                if image.digest not in counted:
                    counted.add(image.digest)
                    room -= len(image.positions)
                    if room < 0:
                        return ahead
                if not self._encoder.has_features(image):
                    ahead.append(image)
        return ahead

    def _encode_one_by_one(self, needed: dict[PrefixImage, int]) -> list[Completion]:
        """Used when a batch of images failed: only the groups of images that fail alone are given up."""
        completions = []
        for image, key in needed.items():
            try:
                if not self._encoder.has_features(image):
                    self._encoder.encode([image])
            except torch.AcceleratorError:
                raise
            except REQUEST_ERRORS as error:
                check_device(self._like.device)
                completions += self._fail_group(key, error)
        return completions

    def _fail_group(self, key: int, error: Exception) -> list[Completion]:
        if key not in self._groups:
            return []
        work = self._groups[key]
        branches = [answer.branch for answer in work.answers.values()]
        for branch in branches:
            self._forget(branch.id)
        return [failed(work.group, branch, error) for branch in branches]

    def _job(self, chunk: Chunk) -> Job | None:
        """The chunk with its tokens and image features; None if its request has failed or is gone."""
        end = chunk.start + chunk.count
        if isinstance(chunk.key, int):
            if chunk.key not in self._groups:
                return None
            work = self._groups[chunk.key]
            if work.found is None:
                work.found = chunk.start
            return Job(chunk, work.prefix.ids[chunk.start : end], work.prefix.patches(chunk.start, end), None)
        assert isinstance(chunk.key, str), chunk.key
        if chunk.key not in self._branches:
            return None
        _, work = self._branches[chunk.key]
        answer = work.answers[chunk.key]
        work.start(chunk.key)
        past = len(work.prefix.ids) + len(answer.branch.ids)
        if chunk.start >= past:
            tokens = answer.token_ids[chunk.start - past : end - past]
        else:
            first = len(work.prefix.ids)
            tokens = [*answer.branch.ids, *answer.token_ids][chunk.start - first : end - first]
        return Job(chunk, np.array(tokens, np.int32), (), answer if chunk.samples else None)

    def _pass_images(self, job: Job) -> None:
        """Forgets image features that no later step needs."""
        if isinstance(job.chunk.key, int) and job.chunk.key in self._groups:
            self._groups[job.chunk.key].prefix.drop(job.chunk.start + job.chunk.count)

    def _fail(self, job: Job, error: Exception) -> list[Completion]:
        """Completions of the branches that end because their chunk cannot be computed."""
        key = job.chunk.key
        if isinstance(key, int):
            return self._fail_group(key, error)
        assert isinstance(key, str), key
        if key not in self._branches:
            return []  # it had ended with a token that was not known when this step was launched
        _, work = self._branches[key]
        branch = work.answers[key].branch
        self._forget(key)
        return [failed(work.group, branch, error)]

    def _take(self, job: Job, sampled: Sampled) -> list[Completion]:
        """Appends the token to the branch's answer; returns its completion, if it ends with this token."""
        key, answer = job.chunk.key, job.answer
        assert isinstance(key, str), key
        assert answer is not None, key
        if key not in self._branches or self._branches[key][1].answers[key] is not answer:
            return []  # it ended, failed or was aborted while this was computed
        _, work = self._branches[key]
        try:
            reason = answer.take(sampled.token, sampled.logprob)
        except REQUEST_ERRORS as error:
            self._forget(key)
            return [failed(work.group, answer.branch, error)]
        if reason is None:
            if answer.branch.stream:
                self._streamed.setdefault(key, len(answer.token_ids) - 1)
            return []
        self._forget(key, finished=True)
        return [
            Completion(
                id=key,
                token_ids=answer.token_ids,
                logprobs=answer.logprobs,
                finish_reason=reason,
                prompt_tokens=len(work.prefix.ids) + len(answer.branch.ids),
                cached_tokens=work.cached[key],
                stopped_at=answer.stopped_at,
                error=answer.why_stuck,
            )
        ]


def _bounded(config: PixtralConfig, max_model_len: int | None) -> PixtralConfig:
    """The model's shape, with a context of so many tokens at most."""
    context = config.max_position_embeddings
    return replace(config, max_position_embeddings=min(context, max_model_len or context))
