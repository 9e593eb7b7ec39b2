"""Runs one step: chunks with their tokens and image features in, one sampled token for each sequence out.

The runner packs the chunks into a batch, has the executor compute it, samples, and brings the tokens back in
one transfer. It knows nothing of requests. If a chunk fails, the others are still computed. `launch` and
`sample` only hand work to the device; `Flight.wait` waits for the results. So a step can be launched while
the device still computes the step before.

Shapes: T tokens, R rows that sample, P patches, D width, V vocabulary, W words of 32 bits.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.cache.batch import Batch
from model.cache.plan import Chunk
from model.engine.answer import Answer
from model.engine.sampling import sample_tokens
from model.executor.executor import REQUEST_ERRORS, Executor, check_device
from model.text.grammar import Grammars
from model.transfer import send


@dataclass(frozen=True)
class Job:
    """A chunk, and the tokens and image features that it is computed from."""

    chunk: Chunk
    ids_T: NDArray[np.int32]
    """The chunk's tokens. The last one is missing if the step before is still sampling it."""
    patches: Sequence[tuple[NDArray[np.int64], Tensor]]
    """For each image: places of its patches, counted from the chunk's first token, and features (P, D)."""
    answer: Answer | None
    """The answer that the sampled token continues. None if no token is sampled."""


@dataclass(frozen=True)
class Sampled:
    """The token that a job sampled."""

    token: int
    logprob: float


@dataclass
class Launched:
    """Jobs that have been handed to the device."""

    parts: list[tuple[list[Job], Tensor]] = field(default_factory=list)
    """Jobs that sample, with their logits (R, V)."""
    failed: list[tuple[Job, Exception]] = field(default_factory=list)
    """Jobs that cannot be computed, even alone."""


@dataclass
class Flight:
    """Sampled tokens on their way from the device to the host."""

    jobs: list[Job] = field(default_factory=list)
    tokens_R: Tensor | None = None
    """The tokens on the device."""
    results_R2: Tensor | None = None
    """Tokens and log-probabilities, on the host after `arrived`. float64 holds every token id exactly."""
    arrived: torch.cuda.Event | None = None

    def wait(self) -> list[tuple[Job, Sampled]]:
        """Each job's token. This is the only place where the host waits for the device."""
        if self.arrived is not None:
            self.arrived.synchronize()
        rows: list[list[float]] = [] if self.results_R2 is None else self.results_R2.tolist()
        return [
            (job, Sampled(int(token), logprob)) for job, (token, logprob) in zip(self.jobs, rows, strict=True)
        ]


class ModelRunner:
    """Runs steps on an executor and samples their tokens."""

    def __init__(self, executor: Executor, grammars: Grammars | None, device: torch.device) -> None:
        self._executor = executor
        self._grammars = grammars
        self._device = device

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copies cache blocks (from, to), before the step of the same plan."""
        self._executor.copy(pairs)

    def launch(self, jobs: Sequence[Job], before: Flight) -> Launched:
        """Launches the jobs. Tokens that are missing in them are in `before`."""
        launched = Launched()
        if jobs:
            rows = {job.chunk.key: row for row, job in enumerate(before.jobs)}
            self._launch(sorted(jobs, key=lambda job: job.chunk.count), before.tokens_R, rows, launched)
        return launched

    def _launch(
        self, jobs: list[Job], tokens_R: Tensor | None, rows: dict[Hashable, int], launched: Launched
    ) -> None:
        try:
            logits_RV = self._executor.step(_make_batch(jobs, tokens_R, rows))
        except torch.AcceleratorError:
            raise  # the device is lost, which no request did, and no other could be answered on it
        except REQUEST_ERRORS as error:
            check_device(self._device)
            if len(jobs) == 1 and not (_is_out_of_memory(error) and jobs[0].chunk.count > 1):
                launched.failed.append((jobs[0], error))
                return
        else:
            launched.parts.append(([job for job in jobs if job.answer is not None], logits_RV))
            return
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # what the failed step left may be in pieces that are too small
        # Halves are tried until the job that fails is alone; one that lacks memory alone is cut in two, of
        # which the second needs the first. A chunk that is computed a second time writes the same keys and
        # values again.
        middle = len(jobs) // 2
        halves = (jobs[:middle], jobs[middle:]) if middle else tuple([half] for half in _halves(jobs[0]))
        failed = len(launched.failed)
        self._launch(halves[0], tokens_R, rows, launched)
        if middle or len(launched.failed) == failed:
            self._launch(halves[1], tokens_R, rows, launched)

    def sample(self, launched: Launched) -> Flight:
        """Samples a token for each job that samples. The answers must hold all tokens sampled before."""
        parts = [self._sample(jobs, logits_RV) for jobs, logits_RV in launched.parts if jobs]
        if not parts:
            return Flight()
        tokens_R = torch.cat([tokens for tokens, _ in parts])
        logprobs_R = torch.cat([logprobs for _, logprobs in parts])
        results_R2 = torch.stack((tokens_R.double(), logprobs_R.double()), dim=1)
        flight = Flight([job for jobs, _ in launched.parts for job in jobs], tokens_R, results_R2)
        if results_R2.is_cuda:
            flight.results_R2 = torch.empty(results_R2.shape, dtype=results_R2.dtype, pin_memory=True)
            flight.results_R2.copy_(results_R2, non_blocking=True)
            flight.arrived = torch.cuda.Event()
            flight.arrived.record()
        return flight

    def _sample(self, jobs: Sequence[Job], logits_RV: Tensor) -> tuple[Tensor, Tensor]:
        answers = [job.answer for job in jobs if job.answer is not None]
        masks_RW = None
        # An answer may have ended while this step was launched. Its grammar is left out, its token dropped.
        matchers = [None if answer.has_ended else answer.matcher for answer in answers]
        if self._grammars is not None and any(matcher is not None for matcher in matchers):
            masks = self._grammars.new_masks(len(answers))
            self._grammars.fill(matchers, masks)
            masks_RW = send(torch.from_numpy(masks), self._device)
        settings = [(answer.branch.sampling, len(answer.token_ids)) for answer in answers]
        return sample_tokens(logits_RV, settings, masks_RW)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError)


def _halves(job: Job) -> tuple[Job, Job]:
    """The job of a chunk of several tokens, in two chunks behind one another."""
    chunk, count = job.chunk, job.chunk.count // 2
    first = replace(chunk, count=count, samples=False)
    second = replace(chunk, start=chunk.start + count, count=chunk.count - count)
    cuts = [(int(np.searchsorted(places, count)), places, features) for places, features in job.patches]
    return (
        Job(first, job.ids_T[:count], [(at[:cut], found[:cut]) for cut, at, found in cuts if cut], None),
        Job(
            second,
            job.ids_T[count:],
            [(at[cut:] - count, found[cut:]) for cut, at, found in cuts if cut < len(at)],
            job.answer,
        ),
    )


def _make_batch(jobs: Sequence[Job], tokens_R: Tensor | None, rows: dict[Hashable, int]) -> Batch:
    ids_T: list[NDArray[np.int32]] = []
    unknown: list[tuple[int, int]] = []
    patches = []
    first = 0
    for job in jobs:
        patches += [(first + positions, features_PD) for positions, features_PD in job.patches]
        first += job.chunk.count
        missing = job.chunk.count - len(job.ids_T)
        ids_T += [job.ids_T, np.zeros(missing, np.int32)]
        if missing:
            assert missing == 1, (job.chunk, len(job.ids_T))
            unknown.append((first - 1, rows[job.chunk.key]))
    return Batch(
        chunks=[job.chunk for job in jobs],
        ids_T=np.concatenate(ids_T),
        unknown_K2=np.array(unknown, np.int32).reshape(-1, 2),
        sampled_before=tokens_R,
        patches=patches,
    )
