"""The training of a small Pixtral on synthetic documents: its curriculum, its loop, and the state it keeps.

In: a TrainingConfig. Out: a checkpoint. The documents are drawn as PDFs and pass through the pipeline's own
rasterizer, prompts and tokenizer, so that training and use cannot drift apart. There are two losses: on the
answers' tokens, and on the characters in each patch. The second one has a head of its own, which is dropped
at the end. Without it, the model does not learn to read within minutes. The curriculum grows from one line of
text to whole pages. Its stages are shares of the time, so that any budget runs through all of them.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from jobs.nano.synthetic.examples import Batch, batches
from jobs.nano.synthetic.scenes import Scene
from jobs.nano.trainee import Trainee, evaluate, losses
from model.checkpoint import save_model
from model.config import PixtralConfig
from model.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

EXCERPTS = {"lines": 2, "form": 2, "table": 1.5, "chart": 1.5}
PAGES = {"lines": 0.7, "form": 3, "table": 2.5, "chart": 2.5, "invoice": 4, "receipt": 2.5, "report": 2}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A scene, and the share of the whole training time that it gets."""

    name: str
    share: float
    scene: Scene


STAGES = (
    Stage(name="line", share=0.04, scene=Scene(pixels=(32, 128), mix={"lines": 1}, max_side=128)),
    Stage(name="lines", share=0.06, scene=Scene(pixels=(64, 256), mix={"lines": 1}, max_side=256)),
    Stage(name="excerpt", share=0.11, scene=Scene(pixels=(256, 256), mix=EXCERPTS, max_side=256)),
    Stage(
        name="half page",
        share=0.17,
        scene=Scene(pixels=(512, 384), mix={**EXCERPTS, "receipt": 1}, max_side=512),
    ),
    Stage(name="page", share=0.62, scene=Scene(pixels=None, mix=PAGES, max_side=1024)),
)
PEAK_RATE = 1.5e-3
WARMUP_STEPS = 200
STEADY_SHARE = 0.55  # of the time; then the learning rate falls linearly
REPORT_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training, which several processes may do one after the other."""

    output: Path
    """Folder for the finished checkpoint."""
    state: Path
    """File that keeps the state between processes."""
    shape: Path
    """Folder with params.json and tekken.json."""
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
        self, scene: Scene, tokenizer_path: Path, *, patch_size: int, tokens: int, seed: int
    ) -> None:
        self._scene, self._tokenizer_path = scene, tokenizer_path
        self._patch_size, self._tokens, self._seed = patch_size, tokens, seed

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        seed = self._seed * 1000 + (worker.id if worker else 999)
        tokenizer = Tokenizer.from_file(self._tokenizer_path)
        return batches(self._scene, tokenizer, patch_size=self._patch_size, tokens=self._tokens, seed=seed)


def to_device(batch: Batch, device: torch.device) -> Batch:
    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    return Batch(
        kinds=batch.kinds,
        pixels=move(batch.pixels),
        sizes=batch.sizes,
        ids=move(batch.ids),
        targets=move(batch.targets),
        lengths=batch.lengths,
        characters=move(batch.characters),
    )


def learning_rate(step: int, progress: float) -> float:
    """Warm-up by steps, a plateau, then a linear fall to a fiftieth by the end of the time."""
    fall = 1.0 if progress < STEADY_SHARE else max(0.02, (1 - progress) / (1 - STEADY_SHARE))
    return PEAK_RATE * min(1.0, (step + 1) / WARMUP_STEPS) * fall


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
        self.trainee = Trainee(self.shape).to(self.device)
        decayed = [p for n, p in self.trainee.named_parameters() if p.dim() == 2 and "layers" in n]
        others = [p for n, p in self.trainee.named_parameters() if not (p.dim() == 2 and "layers" in n)]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
            lr=PEAK_RATE,
            betas=(0.9, 0.95),
            fused=self.device.type == "cuda",
        )
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
        for stage in STAGES:
            end += stage.share * total
            if self.seconds < end - 1e-6:
                return stage, end
        return STAGES[-1], total

    def loader(self, scene: Scene, *, seed: int, workers: int) -> Iterator[Batch]:
        documents = Documents(
            scene,
            self.config.shape / "tekken.json",
            patch_size=self.shape.vision.patch_size,
            tokens=self.config.batch_tokens,
            seed=seed,
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
        eos = Tokenizer.from_file(self.config.shape / "tekken.json").eos
        first, began, seen, waited, steps = self.seconds, time.monotonic(), self.seen, 0.0, 0
        reported = -REPORT_SECONDS
        sums = torch.zeros(2, device=self.device)
        while self.seconds < end:
            asked = time.monotonic()
            batch = to_device(next(loader), self.device)
            waited += time.monotonic() - asked
            rate = learning_rate(self.step, self.seconds / (self.config.minutes * 60))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(self.device.type, torch.bfloat16):
                logits, found = self.trainee(batch)
            answers, characters = losses(logits, found, batch)
            (answers + characters).backward()
            nn.utils.clip_grad_norm_(self.trainee.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            sums += torch.stack([answers.detach(), characters.detach()])
            self.step, self.seen, steps = self.step + 1, self.seen + len(batch.lengths), steps + 1
            self.seconds = first + time.monotonic() - began
            if self.seconds - first - reported >= REPORT_SECONDS or self.seconds >= end:
                answer_loss, character_loss = (sums / steps).tolist()
                self.trainee.eval()
                with torch.autocast(self.device.type, torch.bfloat16):
                    right = evaluate(self.trainee, held_out, eos)
                self.trainee.train()
                reported = self.seconds - first
                log.info(
                    "%s %4.0f s  step %d  loss %.3f  characters %.3f  %.0f examples/s  waited %.0f s  %s",
                    stage.name, self.seconds, self.step, answer_loss, character_loss,
                    (self.seen - seen) / (time.monotonic() - began), waited, json.dumps(right),
                )  # fmt: skip
                sums.zero_()
                steps = 0

    def write_checkpoint(self) -> None:
        """The model as it is now, and its tokenizer."""
        output, shape = self.config.output, self.config.shape
        output.mkdir(parents=True, exist_ok=True)
        save_model(self.trainee.pixtral.to(torch.bfloat16), output)
        if output.resolve() != shape.resolve():
            shutil.copy(shape / "tekken.json", output / "tekken.json")
        done = self.seconds >= self.config.minutes * 60
        log.info("%s %s", "finished:" if done else "cut; run again to go on. So far:", output)
