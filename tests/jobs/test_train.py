"""Training learns, is cut, goes on, and leaves a checkpoint that loads."""

import json
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed
from torch.multiprocessing.spawn import start_processes

from jobs import train
from jobs.nano import training
from jobs.nano.synthetic.examples import IGNORE, SLOTS, batches, examples, pack
from jobs.nano.synthetic.scenes import Scene
from jobs.nano.trainee import Counts, Trainee, names
from model.checkpoint import load_model
from model.config import PixtralConfig
from model.network.preprocess import MEAN, STD
from model.text.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
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


WITHOUT_THE_EXTRA = """
import sys

sys.modules |= dict.fromkeys(("faker", "reportlab", "pymupdf_fonts"))
from jobs.train import main

sys.exit(main(sys.argv[1:]))
"""


def test_without_the_extra_a_start_names_it_and_help_still_helps() -> None:
    def start(*flags: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", WITHOUT_THE_EXTRA, *flags]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    helped = start("--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "Needs the [train] extra" in " ".join(helped.stdout.split())
    started = start("--output", "out/none", "--state", "out/none/state.pt")
    assert (started.returncode, started.stdout) == (2, "")
    assert re.fullmatch(
        r"jobs\.train: \w+(\.\w+)* is not installed\. .* -m pip install '\.\[train\]'\n", started.stderr
    )


def test_a_cut_run_goes_on_to_a_checkpoint(
    shape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that each look at it moves: how long a step takes here says nothing."""
    monkeypatch.setattr(training, "FROM_NOTHING", (training.Stage(name="line", share=1.0, scene=LINE),))
    monkeypatch.setattr(training, "EVALUATED_BATCHES", 1)
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=partial(next, count(0.0, 0.05))))
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


@pytest.mark.parametrize("kind", ["without a head", "no state"])
def test_a_state_that_does_not_fit_is_one_sentence(
    shape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """One of a version that lacked a loss, or of another shape, was a traceback of each tensor."""
    state = tmp_path / "state.pt"
    if kind == "no state":
        state.write_bytes(b"weights")
    else:
        weights = Trainee(PixtralConfig.from_file(shape / "params.json")).state_dict()
        kept = {name: one for name, one in weights.items() if not name.startswith("names.")}
        torch.save({"trainee": kept, "optimizer": {}, "step": 1, "seconds": 1.0, "seen": 1}, state)
    flags = {"--output": tmp_path / "out", "--state": state, "--shape": shape, "--device": "cpu"}
    assert train.main([str(part) for flag in flags.items() for part in flag]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"jobs.train: --state {state} does not fit this --shape")
    assert said.count("\n") == 1


def test_a_trainee_computes_what_pixtral_does(shape: Path) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(shape / "tekken.json")
    trainee = Trainee(PixtralConfig.from_file(shape / "params.json"))
    pixtral = trainee.pixtral
    random.seed(3)
    source = examples(LINE, tokenizer, 16)
    collected = [next(source) for _ in range(4)]
    batch = pack(collected, image_token=tokenizer.img, patch_size=16)
    found = trainee(batch)
    pages = [torch.tensor(page).permute(2, 0, 1) / 255 for one in collected for page in one.pages]
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    ids = torch.tensor([token for one in collected for token in one.ids])
    targets = torch.tensor([token for one in collected for token in one.targets])
    images = pixtral.encode_images([(page - mean) / std for page in pages])
    logits = pixtral(pixtral.embed(ids, images), batch.lengths, rows=(targets != IGNORE).nonzero()[:, 0])
    torch.testing.assert_close(found.answers, logits, atol=1e-4, rtol=1e-4)
    assert torch.equal(batch.answers, targets[targets != IGNORE])
    assert found.pointed.isfinite().sum() == sum(
        int((batch.patch_examples == number).sum()) for number in batch.turn_examples
    )


def _rank(rank: int, config: training.TrainingConfig, scene: Scene, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    run = training.Training(config, rank, 2)
    batch = next(run.loader(scene, seed=3, workers=0))
    run.trainee.losses(run.trainee(batch), batch).weighed().backward()
    alone = [parameter.grad.clone() for parameter in run.trainee.parameters() if parameter.grad is not None]
    run._share_gradients()
    shared = [parameter.grad for parameter in run.trainee.parameters()]
    torch.save((batch.text, alone, shared, run._shared_time(5.0 + rank)), f"{folder}/{rank}.pt")


@pytest.mark.processes
def test_ranks_draw_their_own_documents_and_share_their_gradients(shape: Path, tmp_path: Path) -> None:
    config = training.TrainingConfig(
        output=tmp_path / "out", state=tmp_path / "state.pt", shape=shape, start=None, fonts=None, minutes=1,
        limit_seconds=1, batch_tokens=100, workers=0, device="cpu", gpus=None, seed=1,
    )  # fmt: skip
    start_processes(_rank, (config, LINE, str(tmp_path)), 2, start_method="spawn")
    (text, alone, shared, seconds), (others, alone_too, shared_too, seconds_too) = (
        torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)
    )
    assert not torch.equal(text[:50], others[:50])
    assert seconds == seconds_too == 5.0
    for mine, other, mean, mean_too in zip(alone, alone_too, shared, shared_too, strict=True):
        torch.testing.assert_close(mean, (mine + other) / 2)
        assert torch.equal(mean, mean_too)


def test_all_losses_fall(shape: Path) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(shape / "tekken.json")
    trainee = Trainee(PixtralConfig.from_file(shape / "params.json"))
    table = Scene(pixels=(128, 256), mix={"table": 1}, max_side=256)
    batch = next(batches(table, tokenizer, patch_size=16, tokens=800, seed=1))
    assert all(batch.linking)
    assert batch.pointing[0]
    optimizer = torch.optim.AdamW(trainee.parameters(), lr=3e-3)
    seen = []
    for _ in range(30):
        each = trainee.losses(trainee(batch), batch)
        each.weighed().backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append([one.item() for one in each])
    assert seen[-1][0] < 0.6 * seen[0][0]
    assert seen[-1][1] < 0.9 * seen[0][1]
    for late, early in zip(seen[-1][2:], seen[0][2:], strict=True):
        assert late < early
    counts = Counts()
    counts.count(trainee, batch, tokenizer.eos)
    assert set(counts.line()) == {"characters", "pointed", "linked", "named", "table"}
    assert len(list(counts.table())) == 4


def test_values_must_know_the_names_that_they_are_linked_to(shape: Path) -> None:
    """Of a cell, what stands where the name of its row or the head of its column begins."""
    tokenizer = Tokenizer.from_file(shape / "tekken.json")
    table = Scene(pixels=(256, 384), mix={"table": 1}, max_side=384)
    batch = next(batches(table, tokenizer, patch_size=16, tokens=800, seed=1))
    known = names(batch)
    assert torch.equal(known[:, :SLOTS], batch.characters[batch.links])
    assert torch.equal(known[:-1, SLOTS:], batch.characters[(batch.links + 1)[:-1]])
    assert known[:, :SLOTS].any(1).all()
    found = Trainee(PixtralConfig.from_file(shape / "params.json"))(batch)
    assert found.named.shape[:2] == known.shape


def test_training_goes_on_from_the_weights_of_a_checkpoint(shape: Path, tmp_path: Path) -> None:
    config = training.TrainingConfig(
        output=tmp_path / "out", state=tmp_path / "state.pt", shape=shape, start=None, fonts=None, minutes=1,
        limit_seconds=1, batch_tokens=100, workers=0, device="cpu", gpus=None, seed=1,
    )  # fmt: skip
    first = training.Training(config)
    first.write_checkpoint()
    shutil.copytree(tmp_path / "out", tmp_path / "start")
    again = training.Training(replace(config, seed=2, start=tmp_path / "start"))
    assert again.stages == training.FROM_WEIGHTS
    for name, weight in again.trainee.pixtral.state_dict().items():
        assert torch.equal(weight, first.trainee.pixtral.state_dict()[name].float()), name


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--start", "--start model/nano has another shape than --shape"),
        ("--fonts", "docs holds no fonts"),
        ("--gpus", "--gpus 2 with --device cpu: leave it out"),
    ],
)
def test_what_cannot_be_trained_with_is_one_sentence(
    flag: str, said: str, shape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--output",
        tmp_path / "out",
        "--state",
        tmp_path / "state.pt",
        "--shape",
        shape,
        "--device",
        "cpu",
    ]
    given = {"--start": "model/nano", "--fonts": "docs", "--gpus": "2"}[flag]
    assert train.main([*map(str, flags), flag, given]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
