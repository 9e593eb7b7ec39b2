"""The flags of a model and of its engine, which several jobs have."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

NANO: Final = Path(__file__).parents[2] / "model" / "nano"


Add = Callable[..., argparse.Action]


def add_model(add: Add) -> None:
    """Adds --model, by a group's `add_argument`."""
    add(
        "--model",
        default=str(NANO),
        metavar="MODEL",
        help="folder with params.json, tekken.json and consolidated.safetensors, or the Hugging Face files; "
        "or owner/name[@revision] on the hub (default: model/nano, a small model for trying)",
    )


def add_model_or_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --model, and MODEL as another way to say it, in a group of their own; one of them may be given."""
    add = parser.add_argument_group("model").add_mutually_exclusive_group().add_argument
    add("model", nargs="?", default=argparse.SUPPRESS, metavar="MODEL", help="the same as --model MODEL")
    add_model(add)


def add_drawing(add: Add) -> None:
    """Adds --temperature and --top-p."""
    add(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="draw the tokens of answers, the more freely the higher: 0.35, 0.7, 1 (default: 0, the "
        "likeliest tokens)",
    )
    add(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="draw among the likeliest tokens that together have this probability (default: 1, all)",
    )


def add_engine(add: Add) -> None:
    """Adds how a model computes, and how much at a time."""
    add(
        "--max-side",
        type=int,
        metavar="PIXELS",
        help="longest edge at which the model sees a page or an image (default: 1024, or what the model can)",
    )
    add(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "fp8"],
        default="auto",
        help="number format in which the model computes (default: auto, bfloat16 where the hardware has it); "
        "fp8, on Hopper GPUs, is half as fast again and changes answers somewhat",
    )
    add(
        "--cache-dtype",
        choices=["auto", "fp8"],
        default="auto",
        help="number format in which the cache keeps keys and values (default: auto, as --dtype); fp8, on "
        "Hopper GPUs, makes long answers faster and changes answers a little",
    )
    add(
        "--tensor-parallel",
        type=int,
        default=1,
        metavar="N",
        help="GPUs of one machine that share each copy of the model (default: %(default)s)",
    )
    add(
        "--max-num-seqs",
        type=int,
        metavar="N",
        help="most answers that a replica writes at a time (default: 256)",
    )
    add(
        "--max-model-len",
        type=int,
        metavar="N",
        help="most tokens of a prompt and its answer together (default: what the model can)",
    )


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of a run's model, in a group of their own."""
    add = parser.add_argument_group("model").add_argument
    add_model(add)
    add(
        "--max-new-tokens",
        type=int,
        metavar="N",
        help="tokens after which an answer is cut (default: 128 for questions; 1024 for a target, and for "
        "questions in free style and conversations; 4096 for markdown)",
    )
    add_drawing(add)
    add(
        "--seed",
        type=int,
        metavar="N",
        help="of the draws: the same seed gives the same answers, whatever the batches; each item has a seed "
        "of its own that follows from it (default: 0)",
    )
    add(
        "--replicas",
        type=count_or_auto,
        default="auto",
        metavar="M|auto",
        help="copies of the model (default: auto, as many as the cluster's GPUs hold; without GPUs one a "
        "machine)",
    )
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="prompts that a replica is given at a time (default: 8; on a GPU it works on 32 such batches "
        "side by side)",
    )
    add_engine(add)


def count_or_auto(text: str) -> int | None:
    """The value of --replicas. Raises ArgumentTypeError."""
    if text != "auto" and not text.lstrip("-").isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor auto")
    return None if text == "auto" else int(text)
