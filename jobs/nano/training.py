"""The training of a small Pixtral on synthetic documents: its curriculum, its loop, and the state it keeps.

In: a TrainingConfig. Out: a checkpoint. The documents are drawn as PDFs and pass through the pipeline's own
rasterizer, prompts and tokenizer, so that training and use cannot drift apart. Beside the loss on answers'
tokens there are two on heads that are dropped at the end (`trainee`): without that on the characters in each
patch, the model does not learn to read within minutes. Stages are shares of the time, so that any budget runs
through all of them.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from jobs.nano.synthetic.examples import Batch, batches
from jobs.nano.synthetic.faces import check
from jobs.nano.synthetic.layout import Source
from jobs.nano.synthetic.scenes import Scene
from jobs.nano.trainee import Counts, Trainee, losses
from model.checkpoint import load_model, save_model
from model.config import PixtralConfig
from model.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

EXCERPTS = {
    "line": 3,
    "lines": 4,
    "form": 3,
    "table": 2,
    "chart": 0.5,
    "receipt": 1,
    "invoice": 0.3,
    "report": 1,
}
PAGES = {
    "line": 2, "lines": 2, "form": 5, "table": 3.5, "chart": 6, "invoice": 3.5, "receipt": 5, "letter": 1,
    "contract": 1.2, "report": 2,
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
    Stage(name="excerpt", share=0.08, scene=Scene(pixels=(256, 384), mix=EXCERPTS, max_side=384)),
    Stage(name="page", share=0.92, scene=Scene(pixels=None, mix=PAGES, max_side=1024)),
)
"""A model that reads learns new faces on many small pictures first."""
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
    workers: int
    """Processes that draw documents."""
    device: str | None
    """None: the GPU, where there is one."""
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
    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    return replace(
        batch,
        pixels=move(batch.pixels),
        ids=move(batch.ids),
        targets=move(batch.targets),
        characters=move(batch.characters),
        points=move(batch.points),
    )


def learning_rate(step: int, progress: float, peak: float = PEAK_RATE) -> float:
    """Warm-up by steps, a plateau, then a linear fall to a fiftieth by the end of the time."""
    fall = 1.0 if progress < STEADY_SHARE else max(0.02, (1 - progress) / (1 - STEADY_SHARE))
    return peak * min(1.0, (step + 1) / WARMUP_STEPS) * fall


def _same_shapes(model: nn.Module, weights: dict[str, Tensor], config: TrainingConfig) -> None:
    for name, wanted in model.state_dict().items():
        if name not in weights or weights[name].shape != wanted.shape:
            raise ValueError(f"--start {config.start} has another shape than --shape {config.shape}: {name}")


class Training:
    """The state of a training run, which a later process can continue.

    Raises ValueError or OSError if there is no such shape.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.shape = PixtralConfig.from_file(config.shape / "params.json")
        self.device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.set_float32_matmul_precision("high")
        random.seed(config.seed)
        torch.manual_seed(config.seed)
        self.eos = Tokenizer.from_file(config.shape / "tekken.json").eos
        if config.fonts is not None:
            check(config.fonts)
        self.trainee = Trainee(self.shape)
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
        self.stages = FROM_WEIGHTS if config.start else FROM_NOTHING
        self.peak = CONTINUED_RATE if config.start else PEAK_RATE
        self.step, self.seconds, self.seen = 0, 0.0, 0
        if config.state.exists():
            state = torch.load(config.state, map_location=self.device, weights_only=True)
            self.trainee.load_state_dict(state["trainee"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.seen = state["step"], state["seconds"], state["seen"]
            log.info("continuing at step %d, %.0f s", self.step, self.seconds)

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
            seed=seed,
            single=source is not None,
        )
        return iter(
            DataLoader(
                documents,
                batch_size=None,
                num_workers=workers,
                prefetch_factor=2 if workers else None,
                pin_memory=self.device.type == "cuda",
            )
        )

    def run(self) -> None:
        """Trains until the training's time, or this process's own, is over."""
        parameters = sum(parameter.numel() for parameter in self.trainee.pixtral.parameters())
        log.info("%.1f M parameters on %s", parameters / 1e6, self.device)
        stop = min(self.config.minutes * 60, self.seconds + self.config.limit_seconds)
        while self.seconds < stop:
            stage, end = self.stage()
            self.run_stage(stage, min(end, stop))
        self.save()

    def run_stage(self, stage: Stage, end: float) -> None:
        held_out = to_device(next(self.loader(stage.scene, seed=-1, workers=0)), self.device)
        loader = self.loader(stage.scene, seed=self.config.seed + self.step, workers=self.config.workers)
        first, began, seen, waited, steps = self.seconds, time.monotonic(), self.seen, 0.0, 0
        reported, saved = -REPORT_SECONDS, 0.0
        sums = torch.zeros(3, device=self.device)
        while self.seconds < end:
            asked = time.monotonic()
            batch = to_device(next(loader), self.device)
            waited += time.monotonic() - asked
            rate = learning_rate(self.step, self.seconds / (self.config.minutes * 60), self.peak)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(self.device.type, torch.bfloat16):
                found = self.trainee(batch)
            each = losses(found, batch)
            each.weighed().backward()
            nn.utils.clip_grad_norm_(self.trainee.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            sums += torch.stack([one.detach() for one in each])
            self.step, self.seen, steps = self.step + 1, self.seen + len(batch.lengths), steps + 1
            self.seconds = first + time.monotonic() - began
            elapsed = self.seconds - first
            if elapsed - reported >= REPORT_SECONDS or self.seconds >= end:
                mean = (sums / steps).tolist()
                counts = Counts()
                self._count(counts, held_out)
                reported = elapsed
                log.info(
                    "%s %4.0f s  step %d  answers %.3f  characters %.3f  pointing %.3f  %.0f examples/s  "
                    "waited %.0f s  %s",
                    stage.name, self.seconds, self.step, *mean,
                    (self.seen - seen) / (time.monotonic() - began), waited, json.dumps(counts.line()),
                )  # fmt: skip
                sums.zero_()
                steps = 0
            if elapsed - saved >= SAVE_SECONDS:
                self.save()
                saved = elapsed

    def _count(self, counts: Counts, batch: Batch) -> None:
        with torch.autocast(self.device.type, torch.bfloat16):
            counts.count(self.trainee, batch, self.eos)

    def evaluate(self) -> None:
        """Prints how many held-out questions are answered exactly, by kind, in faces that were not seen."""
        for name, (faces, wordings) in EVALUATED.items():
            source = Source(fonts=self.config.fonts, unseen_faces=faces, unseen_wordings=wordings)
            loader = self.loader(self.stages[-1].scene, seed=-2, workers=self.config.workers, source=source)
            counts = Counts()
            for _ in range(EVALUATED_BATCHES):
                self._count(counts, to_device(next(loader), self.device))
            log.info("%s", "\n".join([f"{name}, at {self.seconds:.0f} s:", *counts.table()]))

    def write_checkpoint(self) -> None:
        """The model as it is now, and its tokenizer."""
        output, shape = self.config.output, self.config.shape
        output.mkdir(parents=True, exist_ok=True)
        save_model(self.trainee.pixtral.to(torch.bfloat16), output)
        if output.resolve() != shape.resolve():
            shutil.copy(shape / "tekken.json", output / "tekken.json")
        done = self.seconds >= self.config.minutes * 60
        log.info("%s %s", "finished:" if done else "cut; run again to go on. So far:", output)
