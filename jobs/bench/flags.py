"""The flags that several benchmarks share, and the parser that all of them begin with."""

import argparse

from jobs.bench.models import DTYPES, NANO, SHAPES


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Names each flag's default, and keeps the paragraphs of the description apart."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(paragraph, width, indent) for paragraph in text.split("\n\n"))

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def new_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m jobs.benchmark COMMAND`, without flags."""
    return argparse.ArgumentParser(
        prog=f"python -m jobs.benchmark {command}", description=description, formatter_class=_Formatter
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """--model."""
    parser.add_argument(
        "--model", default=str(NANO), help="folder of a checkpoint, or owner/name[@revision] on the hub"
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """--model and --shape."""
    add_checkpoint(parser)
    parser.add_argument("--shape", choices=SHAPES, help="a model of this shape with random weights instead")


def add_computing(parser: argparse.ArgumentParser) -> None:
    """--dtype and --fp8."""
    parser.add_argument("--dtype", choices=DTYPES, help="default: the faster one of this machine")
    parser.add_argument("--fp8", action="store_true", help="multiply in FP8 (GPU)")


def add_share(parser: argparse.ArgumentParser, help: str) -> None:
    """--share, which `check_share` checks."""
    parser.add_argument("--share", type=float, default=1.0, help=help)


def check_share(share: float) -> None:
    """Raises ValueError for a share that is none."""
    if not 0 < share <= 1:
        raise ValueError(f"--share {share}: it must be above 0, and 1 at most")
