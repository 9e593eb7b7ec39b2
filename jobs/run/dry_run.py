"""`--dry-run`: what a run would do and cost, as text. No GPU is taken, no Ray started, nothing written."""

import argparse
import sys
from typing import TYPE_CHECKING

from jobs.run.speeds import MACHINE, SHAPE, SPEEDUP, precision_of, speed_of
from jobs.run.terminal import is_json, say, say_event

if TYPE_CHECKING:
    from pipeline.config import FlowConfig
    from pipeline.estimate import Amount, Estimate

FLAGS = ("dry_run", "price_per_gpu_hour", "pages_per_second")


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """The flags, in a group of their own."""
    add = parser.add_argument_group("before a run").add_argument
    add(
        "--dry-run",
        action="store_true",
        help="say what the run would do: documents, pages, tokens, GPU-hours and cost, from a sample of the "
        "documents; and end",
    )
    add(
        "--price-per-gpu-hour",
        type=float,
        metavar="PRICE",
        help="of --dry-run: what a GPU costs for an hour, in any currency",
    )
    add(
        "--pages-per-second",
        type=float,
        metavar="N",
        help=f"of --dry-run: pages that a GPU answers a second (default: what an {MACHINE} was measured to "
        "do, for models of Pixtral-12B's shape)",
    )


def is_wanted(given: argparse.Namespace) -> bool:
    """Whether the flags ask for it. Raises ValueError for those that mean nothing."""
    for name in FLAGS[1:]:
        value, flag = getattr(given, name), f"--{name.replace('_', '-')}"
        if value is not None and not given.dry_run:
            raise ValueError(f"{flag} is about --dry-run: add it, or leave {flag} out")
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{flag} {value:g}: it must be above 0")
    return bool(given.dry_run)


def dry_run(config: "FlowConfig", given: argparse.Namespace) -> int:
    """Prints the estimate; returns the exit code. Raises ValueError."""
    from pipeline.estimate import estimate
    from pipeline.plan.model_place import model_shape

    plan, found = estimate(config, say)
    shape = model_shape(plan.model)
    measured = (shape.dim, shape.n_layers) == SHAPE
    seconds, how = gpu_seconds(config, found, given.pages_per_second, measured)
    if is_json():
        say_event("estimate", text="\n".join(lines_of(found, seconds, how, given.price_per_gpu_hour)))
    for line in lines_of(found, seconds, how, given.price_per_gpu_hour):
        say(line, sys.stdout)
    return 0


def gpu_seconds(
    config: "FlowConfig", found: "Estimate", pages_per_second: float | None, measured: bool
) -> tuple["Amount | None", str]:
    """Of all GPUs together, and by what; None where nobody knows.

    `measured`: the model has the shape that was measured.
    """
    if pages_per_second is not None:
        return _scaled(found.pages, 1 / pages_per_second), f"{pages_per_second:g} pages a second and GPU"
    precision = precision_of(config.dtype)
    if not measured or precision is None or config.tensor_parallel not in SPEEDUP:
        return None, "nobody has measured this model with these settings: give --pages-per-second"
    speed, gpus = speed_of(precision), config.tensor_parallel
    prompts = _scaled(found.prompt_tokens, speed.prompt * gpus / SPEEDUP[gpus])
    answers = _scaled(found.answer_tokens, speed.answer * gpus / SPEEDUP[gpus])
    # The two rise and fall with the same pages.
    both = type(prompts)(total=prompts.total + answers.total, margin=prompts.margin + answers.margin)
    return both, f"an {MACHINE} in {precision}, as measured"


def lines_of(found: "Estimate", seconds: "Amount | None", how: str, price: float | None) -> list[str]:
    """The estimate in lines."""
    lines = [
        f"documents      {found.left:,} of {found.listed:,} are left to do",
        f"sample         {found.sampled:,} documents, {found.drawn:,} pages drawn"
        + (f"; of {found.failing:,} nothing can be drawn" if found.failing else ""),
        f"pages          {_written(found.pages)}",
        f"items          {_written(found.items)}",
        f"prompt tokens  {_written(found.prompt_tokens)}",
        f"answer tokens  {_written(found.answer_tokens)}, "
        + (
            "as long as the answers so far"
            if found.answers_known
            else "if all answers were as long as they may be"
        ),
        f"CPU-hours      {found.draw_seconds / 3600:,.2f} to open and draw",
    ]
    if seconds is None:
        return [*lines, f"GPU-hours      {how}"]
    hours = _scaled(seconds, 1 / 3600)
    lines.append(f"GPU-hours      {_written(hours, 2)}, by {how}; loading the model comes on top")
    if price is not None:
        lines.append(f"cost           {_written(_scaled(hours, price), 2)}, at {price:g} a GPU-hour")
    return lines


def _scaled(amount: "Amount", factor: float) -> "Amount":
    return type(amount)(total=amount.total * factor, margin=amount.margin * factor)


def _written(amount: "Amount", places: int = 0) -> str:
    """Example: 1,000 ± 120 (95%)."""
    margin = f" ± {amount.margin:,.{places}f} (95%)" if round(amount.margin, places) else ""
    return f"{amount.total:,.{places}f}{margin}"
