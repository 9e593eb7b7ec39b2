"""The training of a small Pixtral on synthetic documents: its curriculum, its loop, and the state it keeps.

In: a TrainingConfig. Out: a checkpoint. The documents are drawn as PDFs and pass through the pipeline's own
rasterizer, prompts and tokenizer, so that training and use cannot drift apart. Beside the loss on answers'
tokens there are others on heads that are dropped at the end (`trainee`): without that on the characters in
each patch, the model does not learn to read within minutes. Stages are shares of the time, so that any budget
runs through all of them. Several GPUs train one model: each has its own documents, and all take the mean of
their gradients.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from jobs.nano.synthetic.examples import Batch, batches
from jobs.nano.synthetic.faces import check
from jobs.nano.synthetic.layout import Source
from jobs.nano.synthetic.scenes import Scene
from jobs.nano.trainee import Counts, Losses, Trainee
from jobs.run.terminal import start_output
from model.checkpoint import load_model, save_model
from model.config import PixtralConfig
from model.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

EXCERPTS = {
    "line": 3, "lines": 4, "form": 3, "table": 6, "chart": 1, "survey": 1.5, "receipt": 1, "invoice": 0.3,
    "report": 1,
}  # fmt: skip
PAGES = {
    "line": 2, "lines": 2, "form": 4, "table": 7, "chart": 3, "card": 5, "survey": 3, "invoice": 4,
    "receipt": 4, "letter": 1, "contract": 1.2, "report": 2,
}  # fmt: skip
"""Shares by pages; a line costs a hundredth of a page."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A scene, and the share of the whole training time that it gets."""

    name: str
    share: float
    scene: Scene


FROM_NOTHING = (
    Stage(name="line", share=0.04, scene=Scene(pixels=(32, 128), mix={"lines": 1}, max_side=128)),
    Stage(name="lines", share=0.06, scene=Scene(pixels=(64, 256), mix={"lines": 1}, max_side=256)),
    Stage(name="excerpt", share=0.12, scene=Scene(pixels=(256, 256), mix=EXCERPTS, max_side=256)),
    Stage(name="half page", share=0.16, scene=Scene(pixels=(512, 384), mix=EXCERPTS, max_side=512)),
    Stage(name="page", share=0.62, scene=Scene(pixels=None, mix=PAGES, max_side=1024)),
)
"""Reading emerges on single lines, and only then on pages."""
FROM_WEIGHTS = (
    Stage(name="excerpt", share=0.12, scene=Scene(pixels=(256, 384), mix=EXCERPTS, max_side=384)),
    Stage(name="page", share=0.88, scene=Scene(pixels=None, mix=PAGES, max_side=1024)),
)
"""A model that reads learns new faces, and to find cells, on many small pictures first."""
PEAK_RATE = 1.5e-3
CONTINUED_RATE = 1.0e-3  # of weights that read already
WARMUP_STEPS = 200
STEADY_SHARE = 0.5  # of the time; then the learning rate falls linearly
REPORT_SECONDS = 30.0
SAVE_SECONDS = 150.0
EVALUATED = {
    "unseen faces and wordings": (True, True),
    "unseen faces, trained wordings": (True, False),
}
EVALUATED_BATCHES = 48


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training, which several processes may do one after the other."""

    output: Path
    """Folder for the finished checkpoint."""
    state: Path
    """File that keeps the state between processes."""
    shape: Path
    """Folder with params.json and tekken.json."""
    start: Path | None
    """Folder of the weights to begin with; None: random ones."""
    fonts: Path | None
    """Folder of type faces; None: those of packages alone."""
    minutes: float
    """Of the whole training."""
    limit_seconds: float
    """After which this process ends, if the training has not."""
    batch_tokens: int
    """Of each GPU."""
    workers: int | None
    """Processes that draw documents, for each GPU; None: one for each core but that of the training."""
    device: str | None
    """None: the GPUs, where there are some."""
    gpus: int | None
    """None: all there are."""
    seed: int


class Documents(IterableDataset[Batch]):
    """Endless batches of one scene; every worker draws its own."""

    def __init__(
        self, scene: Scene, tokenizer_path: Path, *, patch_size: int, tokens: int, seed: int, single: bool
    ) -> None:
        self._scene, self._tokenizer_path, self._single = scene, tokenizer_path, single
        self._patch_size, self._tokens, self._seed = patch_size, tokens, seed

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        seed = self._seed * 1000 + (worker.id if worker else 999)
        tokenizer = Tokenizer.from_file(self._tokenizer_path)
        return batches(
            self._scene,
            tokenizer,
            patch_size=self._patch_size,
            tokens=self._tokens,
            seed=seed,
            single=self._single,
        )


def to_device(batch: Batch, device: torch.device) -> Batch:
    values: dict[str, Any] = {one.name: getattr(batch, one.name) for one in fields(batch)}
    for name, value in values.items():
        if isinstance(value, Tensor):
            values[name] = value.to(device, non_blocking=True)
    return Batch(**values)


def learning_rate(step: int, progress: float, peak: float = PEAK_RATE) -> float:
    """Warm-up by steps, a plateau, then a linear fall to a fiftieth by the end of the time."""
    fall = 1.0 if progress < STEADY_SHARE else max(0.02, (1 - progress) / (1 - STEADY_SHARE))
    return peak * min(1.0, (step + 1) / WARMUP_STEPS) * fall


def _same_shapes(model: nn.Module, weights: dict[str, Tensor], config: TrainingConfig) -> None:
    for name, wanted in model.state_dict().items():
        if name not in weights or weights[name].shape != wanted.shape:
            raise ValueError(f"--start {config.start} has another shape than --shape {config.shape}: {name}")


def prepare(config: TrainingConfig) -> Callable[[], None]:
    """What trains, writes the checkpoint and evaluates it: here, or in a process for each of several GPUs.

    Raises ValueError or OSError for what is wrong with the config, before anything is trained.
    """
    gpus = torch.cuda.device_count() if config.device is None else 0
    if config.gpus is not None and not 1 <= config.gpus <= gpus:
        there = f"of the {gpus} GPUs here" if config.device is None else f"with --device {config.device}"
        raise ValueError(f"--gpus {config.gpus} {there}: leave it out to train on what there is")
    ranks = config.gpus or max(1, gpus)
    if ranks == 1:
        return Training(config).train
    Training(replace(config, device="cpu"))  # says what is wrong here, not in each process
    return partial(_train_in_ranks, config, ranks)


def _train_in_ranks(config: TrainingConfig, ranks: int) -> None:
    meeting = config.state.with_suffix(".ranks").absolute()
    meeting.unlink(missing_ok=True)  # of processes that were cut
    start_processes(_train_rank, (config, ranks, str(meeting)), ranks, start_method="spawn")
    meeting.unlink(missing_ok=True)


def _train_rank(rank: int, config: TrainingConfig, ranks: int, meeting: str) -> None:
    start_output(logging.INFO if rank == 0 else logging.WARNING)
    torch.cuda.set_device(rank)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl", init_method=f"file://{meeting}", rank=rank, world_size=ranks
    )
    Training(replace(config, device=f"cuda:{rank}"), rank, ranks).train()
    torch.distributed.destroy_process_group()


class Training:
    """The state of a training run, which a later process can continue.

    Raises ValueError or OSError if there is no such shape.
    """

    def __init__(self, config: TrainingConfig, rank: int = 0, ranks: int = 1) -> None:
        self.config, self.rank, self.ranks = config, rank, ranks
        self.shape = PixtralConfig.from_file(config.shape / "params.json")
        self.device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.set_float32_matmul_precision("high")
        random.seed(config.seed)
        torch.manual_seed(config.seed)
        self.eos = Tokenizer.from_file(config.shape / "tekken.json").eos
        if config.fonts is not None:
            check(config.fonts)
        self.trainee = Trainee(self.shape, compiled=self.device.type == "cuda")
        if config.start and not config.state.exists():
            weights = load_model(config.start, device="cpu", dtype=torch.float32).state_dict()
            _same_shapes(self.trainee.pixtral, weights, config)
            self.trainee.pixtral.load_state_dict(weights)
        self.trainee.to(self.device)
        decayed = [p for n, p in self.trainee.named_parameters() if p.dim() == 2 and "layers" in n]
        others = [p for n, p in self.trainee.named_parameters() if not (p.dim() == 2 and "layers" in n)]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
            lr=PEAK_RATE,
            betas=(0.9, 0.95),
            fused=self.device.type == "cuda",
        )
        cores = (os.cpu_count() or 2) // ranks
        self.workers = max(1, cores - 1) if config.workers is None else config.workers
        self.stages = FROM_WEIGHTS if config.start else FROM_NOTHING
        self.peak = CONTINUED_RATE if config.start else PEAK_RATE
        self.step, self.seconds, self.seen = 0, 0.0, 0
        if config.state.exists():
            self._go_on(config.state)

    def _go_on(self, file: Path) -> None:
        """Where the process before has stopped. Raises ValueError."""
        try:
            state = torch.load(file, map_location=self.device, weights_only=True)
            self.trainee.load_state_dict(state["trainee"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.seen = state["step"], state["seconds"], state["seen"]
        except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError) as error:
            raise ValueError(f"--state {file} does not fit this --shape and version: name another") from error
        log.info("continuing at step %d, %.0f s", self.step, self.seconds)

    @property
    def finished(self) -> bool:
        return self.seconds >= self.config.minutes * 60

    def save(self) -> None:
        state: dict[str, Any] = {
            "trainee": self.trainee.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "seen": self.seen,
        }
        partial = self.config.state.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.config.state)

    def stage(self) -> tuple[Stage, float]:
        """The stage that the elapsed time falls into, and the second at which it ends."""
        total, end = self.config.minutes * 60, 0.0
        for stage in self.stages:
            end += stage.share * total
            if self.seconds < end - 1e-6:
                return stage, end
        return self.stages[-1], total

    def loader(
        self, scene: Scene, *, seed: int, workers: int, source: Source | None = None
    ) -> Iterator[Batch]:
        """Batches of a scene in the faces of training; of another `source`, each example has one question."""
        documents = Documents(
            replace(scene, source=source or Source(fonts=self.config.fonts)),
            self.config.shape / "tekken.json",
            patch_size=self.shape.vision.patch_size,
            tokens=self.config.batch_tokens,
            seed=seed * 100 + self.rank,
            single=source is not None,
        )
        return iter(
            DataLoader(
                documents,
                batch_size=None,
                num_workers=workers,
                prefetch_factor=2 if workers else None,
                # A fork of this process would hold locks of threads that it lacks: it would abort at its end.
                multiprocessing_context="forkserver" if workers else None,
                in_order=source is not None,  # in training, a slow page holds up no other worker's
                pin_memory=self.device.type == "cuda",
            )
        )

    def train(self) -> None:
        """Runs; then the first rank writes the checkpoint, and evaluates it if the training is finished."""
        self.run()
        if self.rank == 0:
            self.write_checkpoint()
            if self.finished:
                self.evaluate()

    def run(self) -> None:
        """Trains until the training's time, or this process's own, is over."""
        parameters = sum(parameter.numel() for parameter in self.trainee.pixtral.parameters())
        log.info("%.1f M parameters on %s", parameters / 1e6, self.device)
        stop = min(self.config.minutes * 60, self.seconds + self.config.limit_seconds)
        while self.seconds < stop:
            stage, end = self.stage()
            self.run_stage(stage, min(end, stop))
        if self.rank == 0:
            self.save()

    def run_stage(self, stage: Stage, end: float) -> None:
        held_out = to_device(next(self.loader(stage.scene, seed=-1, workers=0)), self.device)
        loader = self.loader(stage.scene, seed=self.config.seed + self.step, workers=self.workers)
        first, began, seen, waited, steps = self.seconds, time.monotonic(), self.seen, 0.0, 0
        reported, saved = -REPORT_SECONDS, 0.0
        sums = torch.zeros(len(Losses._fields), device=self.device)
        while self.seconds < end:
            asked = time.monotonic()
            batch = to_device(next(loader), self.device)
            waited += time.monotonic() - asked
            rate = learning_rate(self.step, self.seconds / (self.config.minutes * 60), self.peak)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(self.device.type, torch.bfloat16):
                found = self.trainee(batch)
            each = self.trainee.losses(found, batch)
            each.weighed().backward()
            self._share_gradients()
            nn.utils.clip_grad_norm_(self.trainee.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            sums += torch.stack([one.detach() for one in each])
            self.step, steps = self.step + 1, steps + 1
            self.seen += len(batch.lengths) * self.ranks
            self.seconds = first + self._shared_time(time.monotonic() - began)
            elapsed = self.seconds - first
            if self.rank == 0 and (elapsed - reported >= REPORT_SECONDS or self.seconds >= end):
                mean = (sums / steps).tolist()
                counts = Counts()
                self._count(counts, held_out)
                reported = elapsed
                log.info(
                    "%s %4.0f s  step %d  %s  %.0f examples/s  waited %.0f s  %s",
                    stage.name, self.seconds, self.step,
                    "  ".join(f"{name} {loss:.3f}" for name, loss in zip(Losses._fields, mean, strict=True)),
                    (self.seen - seen) / (time.monotonic() - began), waited, json.dumps(counts.line()),
                )  # fmt: skip
                sums.zero_()
                steps = 0
            if self.rank == 0 and elapsed - saved >= SAVE_SECONDS:
                self.save()
                saved = elapsed

    def _share_gradients(self) -> None:
        """Gives every rank the mean of all ranks' gradients, in one message."""
        if self.ranks == 1:
            return
        gradients = [p.grad for p in self.trainee.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        parts = (flat / self.ranks).split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])

    def _shared_time(self, seconds: float) -> float:
        """The first rank's, so that all end a stage with the same step. It goes past the GPUs."""
        if self.ranks == 1:
            return seconds
        shared = torch.tensor([seconds], dtype=torch.float64)
        torch.distributed.broadcast(shared, 0)
        return shared.item()

    def _count(self, counts: Counts, batch: Batch) -> None:
        with torch.autocast(self.device.type, torch.bfloat16):
            counts.count(self.trainee, batch, self.eos)

    def evaluate(self) -> None:
        """Prints how many held-out questions are answered exactly, by kind, in faces that were not seen."""
        for name, (faces, wordings) in EVALUATED.items():
            source = Source(fonts=self.config.fonts, unseen_faces=faces, unseen_wordings=wordings)
            loader = self.loader(self.stages[-1].scene, seed=-2, workers=self.workers, source=source)
            counts = Counts()
            for _ in range(EVALUATED_BATCHES):
                self._count(counts, to_device(next(loader), self.device))
            log.info("%s", "\n".join([f"{name}, at {self.seconds:.0f} s:", *counts.table()]))

    def write_checkpoint(self) -> None:
        """The model as it is now, and its tokenizer."""
        output, shape = self.config.output, self.config.shape
        output.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            for parameter in self.trainee.pixtral.parameters():
                parameter.copy_(parameter.bfloat16())  # what is evaluated next is what is written
        save_model(copy.deepcopy(self.trainee.pixtral).to(torch.bfloat16), output)
        if output.resolve() != shape.resolve():
            shutil.copy(shape / "tekken.json", output / "tekken.json")
        log.info("%s %s", "finished:" if self.finished else "cut; run again to go on. So far:", output)
