"""Training learns, is cut, goes on, and leaves a checkpoint that loads."""

import json
import shutil
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from jobs import train
from jobs.nano.synthetic.examples import batches
from jobs.nano.synthetic.scenes import Scene
from jobs.nano.trainee import Trainee, evaluate, losses
from model.checkpoint import load_model
from model.config import PixtralConfig
from model.text.tokenizer import Tokenizer

LINE = Scene(pixels=(32, 128), mix={"lines": 1}, max_side=128)


@pytest.fixture
def shape(tmp_path: Path) -> Path:
    """nano's tokenizer with a network of a few thousand parameters."""
    folder = tmp_path / "shape"
    folder.mkdir()
    shutil.copy("model/nano/tekken.json", folder)
    params = json.loads(Path("model/nano/params.json").read_text())
    params |= {"dim": 32, "n_layers": 1, "head_dim": 16, "hidden_dim": 32, "n_heads": 2, "n_kv_heads": 1}
    params["vision_encoder"] |= {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    (folder / "params.json").write_text(json.dumps(params))
    return folder


def test_a_shape_that_is_not_there_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {"--output": tmp_path / "out", "--state": tmp_path / "state.pt", "--shape": tmp_path / "none"}
    assert train.main([str(part) for flag in flags.items() for part in flag]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"jobs.train: cannot read {tmp_path / 'none' / 'params.json'}")
    assert said.count("\n") == 1


def test_a_cut_run_goes_on_to_a_checkpoint(
    shape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that each look at it moves: how long a step takes here says nothing."""
    monkeypatch.setattr(train, "STAGES", (train.Stage(name="line", share=1.0, scene=LINE),))
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=partial(next, count(0.0, 0.05))))
    arguments = [
        "--output",
        str(tmp_path / "out"),
        "--state",
        str(tmp_path / "state.pt"),
        "--shape",
        str(shape),
    ]
    arguments += ["--minutes", "0.02", "--batch-tokens", "100", "--workers", "0", "--device", "cpu"]
    assert train.main([*arguments, "--limit-seconds", "0.4"]) == 0
    cut = torch.load(tmp_path / "state.pt", weights_only=True)
    assert 0.4 <= cut["seconds"] < 1.2
    assert train.main(arguments) == 0
    done = torch.load(tmp_path / "state.pt", weights_only=True)
    assert done["seconds"] >= 1.2
    assert done["step"] > cut["step"]
    model = load_model(tmp_path / "out", device="cpu", dtype=torch.float32)
    weight = done["trainee"]["pixtral.output.weight"]
    assert torch.equal(model.output.weight, weight.bfloat16().float())


def test_both_losses_fall(shape: Path) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(shape / "tekken.json")
    trainee = Trainee(PixtralConfig.from_file(shape / "params.json"))
    batch = next(batches(LINE, tokenizer, patch_size=16, tokens=300, seed=1))
    optimizer = torch.optim.AdamW(trainee.parameters(), lr=3e-3)
    seen = []
    for _ in range(30):
        logits, found = trainee(batch)
        answers, characters = losses(logits, found, batch)
        (answers + characters).backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append((answers.item(), characters.item()))
    assert seen[-1][0] < 0.6 * seen[0][0]
    assert seen[-1][1] < 0.9 * seen[0][1]
    assert set(evaluate(trainee, batch, tokenizer.eos)) == {"characters", "lines"}


def test_learning_rate_rises_stays_and_falls() -> None:
    assert train.learning_rate(0, 0.0) == pytest.approx(train.PEAK_RATE / train.WARMUP_STEPS)
    assert train.learning_rate(500, 0.3) == train.PEAK_RATE
    assert train.learning_rate(9000, 0.775) == pytest.approx(train.PEAK_RATE / 2)
    assert train.learning_rate(9000, 1.0) == pytest.approx(train.PEAK_RATE / 50)


def test_stages_share_the_whole_time() -> None:
    assert sum(stage.share for stage in train.STAGES) == pytest.approx(1.0)
