"""The models that benchmarks make for themselves."""

from pathlib import Path

import torch

from jobs.bench.models import NANO, TINY, write_checkpoint
from model.checkpoint_files import check_checkpoint


def test_the_tiny_checkpoint_can_be_loaded(tmp_path: Path) -> None:
    write_checkpoint(TINY, NANO / "tekken.json", tmp_path, device=torch.device("cpu"), dtype=torch.float32)
    assert check_checkpoint(tmp_path).n_layers == 1
