"""A checkpoint that answers every prompt with the same text: for tests of what comes after the model."""

import shutil
from itertools import pairwise
from pathlib import Path

import torch

from model.checkpoint import save_model
from model.text.tokenizer import Tokenizer
from tests.model.tiny import tiny_pixtral

TEKKEN = Path(__file__).parents[2] / "model" / "nano" / "tekken.json"


def save_parrot(folder: Path, text: str) -> Path:
    """Writes the checkpoint. Each token of the text must come once: it alone decides the next.

    Attention and feed-forward add nothing, so that the last hidden state is the last token's embedding; each
    of the text's tokens has a dimension of its own, which the output layer turns into its successor.
    """
    tokenizer = Tokenizer.from_file(TEKKEN)
    said = [tokenizer.inst_end, *tokenizer.encode(text), tokenizer.eos]
    assert len(set(said)) == len(said), f"a token comes twice in {text!r}"
    model = tiny_pixtral(vocab_size=tokenizer.vocab_size)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("attention.wo.weight", "feed_forward.w2.weight")):
                parameter.zero_()
        for weight in (model.tok_embeddings.weight, model.output.weight):
            weight.zero_()
        model.norm.weight.fill_(1)
        for dimension, (token, following) in enumerate(pairwise(said)):
            model.tok_embeddings.weight[token, dimension] = 1
            model.output.weight[following, dimension] = 20
    save_model(model, folder)
    shutil.copy(TEKKEN, folder)
    return folder
