"""The embedded checkpoint has Pixtral's files and is small. `tests/docs` asks it about the samples."""

import json
from pathlib import Path

import torch

from model.checkpoint import load_model
from model.engine.reference import ReferenceEngine
from model.engine.request import Branch, Group
from model.network.image_grid import grid
from model.text.grammar import Grammars
from model.text.tokenizer import ImagePlaceholder, Tokenizer
from pipeline.parse.answers import read_target
from pipeline.plan.prompts import about, target_prompt, tokenize
from pipeline.rasterize.pdf import open_document, rasterize
from schemas.arrow import json_schema
from schemas.targets import Receipt

NANO = Path("model/nano")
MAX_SIDE = 1024


def test_nano_is_three_files_and_a_card_of_at_most_40_mb() -> None:
    files = {path.name: path.stat().st_size for path in NANO.iterdir() if not path.name.startswith(".")}
    assert set(files) == {"params.json", "tekken.json", "consolidated.safetensors", "README.md"}
    assert sum(files.values()) <= 40e6


def test_nano_writes_a_target_in_the_form_that_its_grammar_asks_for() -> None:
    """Under the grammar it writes, token for token, what it writes without."""
    tokenizer = Tokenizer.from_file(NANO / "tekken.json")
    model = load_model(NANO, device="cpu", dtype=torch.float32)
    engine = ReferenceEngine(model, eos_id=tokenizer.eos, grammars=Grammars(tokenizer))
    with open_document(Path("samples/documents/receipt.png").read_bytes(), "receipt.png") as opened:
        image, _, _ = rasterize(opened, 1, max_side=MAX_SIDE, patch_size=16)
    picture = ImagePlaceholder(*grid(*image.shape[:2], max_side=MAX_SIDE, patch_size=16))
    prompt = tokenize(tokenizer, [about([picture], target_prompt(Receipt))])
    grammar = json.dumps(json_schema(Receipt, nullable=True), ensure_ascii=False)
    (ids,) = prompt.branches
    branches = [
        Branch(id=str(index), ids=ids, max_new_tokens=400, grammar=asked)
        for index, asked in enumerate((None, grammar))
    ]
    engine.submit(
        Group(id="g", prefix_ids=prompt.prefix, images=[image], branches=branches, max_side=MAX_SIDE)
    )
    (free,), (constrained,) = engine.step(), engine.step()
    assert constrained.finish_reason == free.finish_reason == "stop"
    assert constrained.token_ids == free.token_ids
    assert constrained.logprobs == free.logprobs
    assert read_target(Receipt, tokenizer.decode(constrained.token_ids)).items


def test_nano_has_the_shape_of_the_real_model() -> None:
    """Whatever the 12B does that a smaller model might hide, nano does too."""
    model = load_model(NANO, device="cpu", dtype=torch.float32)
    config = model.config
    assert config.n_heads * config.head_dim != config.dim
    assert config.n_kv_heads < config.n_heads
    assert config.vision.image_size == 1024
    assert config.vision.patch_size == 16
    assert 15e6 < sum(parameter.numel() for parameter in model.parameters()) < 20e6
