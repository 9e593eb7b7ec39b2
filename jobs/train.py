"""Train a small Pixtral on synthetic documents, which are drawn as it goes."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from jobs.run.terminal import say_error, start_output
from pipeline.extras import missing


def make_parser() -> argparse.ArgumentParser:
    """All flags of the job."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.train",
        description=__doc__,
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
    parser.add_argument("--start", type=Path, help="folder with weights to begin with (default: random ones)")
    parser.add_argument(
        "--fonts", type=Path, help="folder with more type faces, for training and held out (default: none)"
    )
    parser.add_argument("--minutes", type=float, default=23, help="length of the whole training (23)")
    parser.add_argument(
        "--limit-seconds", type=float, default=float("inf"), help="end this process earlier, to go on later"
    )
    parser.add_argument("--batch-tokens", type=int, default=49_152, help="tokens a step on each GPU (49152)")
    parser.add_argument("--workers", type=int, help="processes that draw, for each GPU (default: one a core)")
    parser.add_argument("--device", help="cuda or cpu (default: the GPUs, where there are some)")
    parser.add_argument("--gpus", type=int, help="how many GPUs train (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="seed of weights and documents (1)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    given = make_parser().parse_args(arguments)
    start_output(logging.INFO)
    try:
        # Only here, so that --help works without the [train] extra: this imports it, and torch.
        from jobs.nano.training import TrainingConfig, prepare

        train = prepare(TrainingConfig(**vars(given)))
    except (ValueError, OSError) as error:
        say_error(f"jobs.train: {error}")
        return 2
    except ModuleNotFoundError as error:
        say_error(f"jobs.train: {missing(error, 'train')}")
        return 2
    train()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
