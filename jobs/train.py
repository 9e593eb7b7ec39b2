"""Trains a small Pixtral from scratch on synthetic documents: python -m jobs.train --help.

The documents are drawn as PDFs and pass through the pipeline's own rasterizer, prompts and tokenizer, so
that training and use cannot drift apart. Two losses: the answers' tokens, and, on an auxiliary head that
is dropped at the end, the characters in each patch. Without the second, reading does not emerge in
minutes. The curriculum grows from one line of text to whole pages; its stages are shares of the time, so
that any budget runs through all of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import sys
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

log = logging.getLogger("jobs.train")

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
    """The state of a training run, which a later process can continue."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.config = PixtralConfig.from_file(arguments.shape / "params.json")
        self.device = torch.device(arguments.device)
        torch.manual_seed(arguments.seed)
        self.trainee = Trainee(self.config).to(self.device)
        decayed = [p for n, p in self.trainee.named_parameters() if p.dim() == 2 and "layers" in n]
        others = [p for n, p in self.trainee.named_parameters() if not (p.dim() == 2 and "layers" in n)]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
            lr=PEAK_RATE,
            betas=(0.9, 0.95),
            fused=self.device.type == "cuda",
        )
        self.step, self.seconds, self.seen = 0, 0.0, 0
        if arguments.state.exists():
            state = torch.load(arguments.state, map_location=self.device, weights_only=True)
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
        partial = self.arguments.state.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.arguments.state)

    def stage(self) -> tuple[Stage, float]:
        """The stage that the elapsed time falls into, and the second at which it ends."""
        total, end = self.arguments.minutes * 60, 0.0
        for stage in STAGES:
            end += stage.share * total
            if self.seconds < end - 1e-6:
                return stage, end
        return STAGES[-1], total

    def loader(self, scene: Scene, *, seed: int, workers: int) -> Iterator[Batch]:
        documents = Documents(
            scene,
            self.arguments.shape / "tekken.json",
            patch_size=self.config.vision.patch_size,
            tokens=self.arguments.batch_tokens,
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

    def run(self, until: float) -> None:
        """Trains until the training time reaches `until` seconds or this process's own limit."""
        stop = min(until, self.seconds + self.arguments.limit_seconds)
        while self.seconds < stop:
            stage, end = self.stage()
            self.run_stage(stage, min(end, stop))
        self.save()

    def run_stage(self, stage: Stage, end: float) -> None:
        held_out = to_device(next(self.loader(stage.scene, seed=-1, workers=0)), self.device)
        loader = self.loader(
            stage.scene, seed=self.arguments.seed + self.step, workers=self.arguments.workers
        )
        eos = Tokenizer.from_file(self.arguments.shape / "tekken.json").eos
        first, began, seen, waited, steps = self.seconds, time.monotonic(), self.seen, 0.0, 0
        reported = -REPORT_SECONDS
        sums = torch.zeros(2, device=self.device)
        while self.seconds < end:
            asked = time.monotonic()
            batch = to_device(next(loader), self.device)
            waited += time.monotonic() - asked
            rate = learning_rate(self.step, self.seconds / (self.arguments.minutes * 60))
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


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.train",
        description="Train a small Pixtral from scratch on synthetic documents, drawn as it goes.",
        epilog="A run can be cut: the same command goes on where --state stands. Needs the [train] extra.",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the finished checkpoint")
    parser.add_argument(
        "--state", type=Path, required=True, help="file that keeps the state; continued if it exists"
    )
    parser.add_argument(
        "--shape",
        type=Path,
        default=Path("model/nano"),
        help="folder with params.json and tekken.json (model/nano)",
    )
    parser.add_argument("--minutes", type=float, default=23, help="length of the whole training (23)")
    parser.add_argument(
        "--limit-seconds", type=float, default=float("inf"), help="end this process earlier, to go on later"
    )
    parser.add_argument("--batch-tokens", type=int, default=49_152, help="tokens a step (49152)")
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="processes that draw"
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of weights and documents (1)")
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_float32_matmul_precision("high")
    random.seed(arguments.seed)
    try:
        training = Training(arguments)
    except (ValueError, OSError) as error:
        print(f"jobs.train: {error}", file=sys.stderr)
        return 2
    parameters = sum(parameter.numel() for parameter in training.trainee.pixtral.parameters())
    log.info("%.1f M parameters on %s", parameters / 1e6, training.device)
    training.run(arguments.minutes * 60)
    arguments.output.mkdir(parents=True, exist_ok=True)
    save_model(training.trainee.pixtral.to(torch.bfloat16), arguments.output)
    if arguments.output.resolve() != arguments.shape.resolve():
        shutil.copy(arguments.shape / "tekken.json", arguments.output / "tekken.json")
    done = training.seconds >= arguments.minutes * 60
    log.info("%s %s", "finished:" if done else "cut; run again to go on. So far:", arguments.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
