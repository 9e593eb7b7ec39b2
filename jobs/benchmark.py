"""Measures Quire on this machine: python -m jobs.benchmark --help.

`engine` runs four workloads through the batch engine, without Ray, from PIL images in memory to the answers'
tokens, which have a forced length. `--shape pixtral-12b` makes a model of that shape with random weights
where it runs, so that no checkpoint is needed.

`page` times the engines on one page beside one another, and transformers with the same weights. Variants
take turns within one run, so that a busy machine slows all of them alike. An answer is changed if its text is
not that of the first engine in the first dtype.

`reading` asks a checkpoint about synthetic documents that it was not trained on, and prints how many
answers are exactly right.

`pages` draws PDF pages on one core: through the sandbox, with plain PyMuPDF, and with pypdfium2, document by
document in turns; and on to the model's pixels, against pypdfium2 with mistral_common's preprocessing.

`keys` is the price of keys and commits: what the driver does for each document besides having it answered.

`memory` runs the whole flow over more and more tiny pages, with a tiny random model, and prints what each
kind of process holds as a run goes on.

`precision` says what FP8 changes in answers.

`parallel` runs pages through one model over several GPUs, and through several copies, against one GPU.

`job` runs W1's pages, as PDFs, through `jobs.extract` on one GPU (or the CPU), and through the engine alone.

All but `reading` print a table, and one JSON line for scripts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from jobs.bench.gpu import kernel_times, matmul_ceiling
from jobs.bench.page import ENGINES, QUESTIONS, measure
from jobs.bench.parallel import Setup, kinds
from jobs.bench.parallel import measure as measure_copies
from jobs.bench.precision import WORK, compare
from jobs.bench.workloads import (
    NO_GUARD,
    PIXTRAL_12B,
    PIXTRAL_LARGE,
    WORKLOADS,
    draw_pages,
    random_model,
    run,
)
from model.checkpoint import default_dtype, load_config, load_model
from model.engine.config import EngineConfig
from model.engine.engine import BatchEngine
from model.executor.factory import ExecutorConfig
from model.network.pixtral import Pixtral
from model.text.tokenizer import Tokenizer

WIDTH = 140  # where the output is no terminal
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SHAPES = {"pixtral-12b": PIXTRAL_12B, "pixtral-large": PIXTRAL_LARGE}
PATCH_SIZE = 16  # of Pixtral
_NANO = Path("model/nano")


def engine(arguments: argparse.Namespace) -> int:
    """Runs each workload once, after a tenth of it that warms up."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.profile and device.type == "cpu":
        raise ValueError("--profile looks at a GPU's kernels, and there is no GPU")
    _check_share(arguments.share)
    dtype = default_dtype(device) if arguments.dtype is None else DTYPES[arguments.dtype]
    started = time.perf_counter()
    model = _model(arguments, device, dtype)
    tokenizer = _tokenizer(arguments)
    ceiling = matmul_ceiling(device, dtype) if device.type == "cuda" else None
    subject = BatchEngine(
        model,
        eos_id=-1,
        config=EngineConfig(
            executor=ExecutorConfig(
                max_num_batched_tokens=arguments.step_tokens,
                cache_tokens=arguments.cache_tokens,
                fp8_weights=arguments.fp8,
                fp8_cache=arguments.fp8_cache,
            ),
            repetition=NO_GUARD,
        ),
    )
    print(f"model and engine made in {time.perf_counter() - started:.1f} s", flush=True)
    rows = []
    for name in arguments.work:
        work = WORKLOADS[name].scaled(arguments.share)
        patch = model.config.vision.patch_size
        warm = work.scaled(0.1)
        # No page twice: the engine would find what it has computed of it.
        run(subject, warm, draw_pages(warm, f"{name} warm"), tokenizer, patch)
        report = _every_10_seconds(f"{name}: {{:,}} of {work.pages * work.questions:,} answers")
        measured = run(subject, work, draw_pages(work, name), tokenizer, patch, report)
        rows.append(measured.row(name, work, model.config, ceiling))
        print(json.dumps(rows[-1]), flush=True)
        if arguments.profile:
            short = work.scaled(0.25)
            pages = draw_pages(short, f"{name} profile")
            for kernel, seconds in kernel_times(partial(run, subject, short, pages, tokenizer, patch)):
                print(f"{1e3 * seconds / short.pages:9.3f} ms a page  {kernel[:100]}", flush=True)
    machine = _machine(device)
    _table(f"{arguments.shape or arguments.model} on {machine}", rows, left=("workload",))
    settings = {
        "dtype": str(dtype).removeprefix("torch."),
        "fp8": arguments.fp8,
        "fp8_cache": arguments.fp8_cache,
        "share": arguments.share,
        "ceiling_tflops": None if ceiling is None else round(ceiling, 1),
    }
    print(json.dumps({"benchmark": "engine", "machine": machine, **settings, "rows": rows}))
    return 0


def parallel(arguments: argparse.Namespace) -> int:
    """Runs one model over more and more GPUs, then more and more copies, and compares with the first."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _check_share(arguments.share)
    config = SHAPES[arguments.shape] if arguments.shape else load_config(arguments.model)
    setup = Setup(
        model=config if arguments.shape else arguments.model,
        tokenizer=(_NANO if arguments.shape else arguments.model) / "tekken.json",
        dtype=default_dtype(device) if arguments.dtype is None else DTYPES[arguments.dtype],
        share=arguments.share,
        fp8=arguments.fp8,
        overlap=arguments.overlap,
    )
    rows: list[dict[str, object]] = []
    first = None
    for copies, ranks in kinds(config, arguments.tensor_parallel, arguments.replicas):
        row = measure_copies(setup, copies, ranks)
        speed = row["pages_per_second"] / (copies * ranks)
        first = first or speed
        row["of_the_first_per_gpu"] = round(speed / first, 3)
        rows.append(row)
        print(json.dumps(row), flush=True)
    machine = _machine(device)
    _table(f"{arguments.shape or arguments.model} on {machine}", rows, left=())
    settings = {"share": arguments.share, "fp8": arguments.fp8, "overlap": arguments.overlap}
    print(json.dumps({"benchmark": "parallel", "machine": machine, **settings, "rows": rows}))
    return 0


def job(arguments: argparse.Namespace) -> int:
    """The engine alone, then the whole job."""
    from jobs.bench.job import (
        compare,
        write_checkpoint,
    )  # the pipeline, which the engine does not need

    _check_share(arguments.share)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        model = arguments.model
        if arguments.shape:
            model = Path(folder) / "model"
            write_checkpoint(SHAPES[arguments.shape], _NANO / "tekken.json", model)
        rows = compare(model, arguments.share, Path(folder))
    machine = _machine(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    _table(f"W1 of {arguments.shape or arguments.model} on {machine}", rows, left=("what",))
    print(json.dumps({"benchmark": "job", "machine": machine, "share": arguments.share, "rows": rows}))
    return 0


def precision(arguments: argparse.Namespace) -> int:
    """Asks the same in each precision."""
    if not torch.cuda.is_available():
        raise ValueError("FP8 needs a GPU, and none is to be seen: run this where there is one")
    device = torch.device("cuda")
    rows = compare(
        partial(_model, arguments, device, torch.bfloat16),
        _tokenizer(arguments),
        WORK,
        draw_pages(WORK, "FP8"),
    )
    machine = _machine(device)
    _table(f"{arguments.shape or arguments.model} on {machine}", rows, left=("precision",))
    print(json.dumps({"benchmark": "precision", "machine": machine, "rows": rows}))
    return 0


def _model(arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> Pixtral:
    if arguments.shape is None:
        return load_model(arguments.model, device=device, dtype=dtype)
    return random_model(SHAPES[arguments.shape], device=device, dtype=dtype)


def _tokenizer(arguments: argparse.Namespace) -> Tokenizer:
    """The checkpoint's; a shape has none, and nano's tokens are the first of any Tekken."""
    return Tokenizer.from_file((arguments.model if arguments.shape is None else _NANO) / "tekken.json")


def page(arguments: argparse.Namespace) -> int:
    """Times one page, with one question and with several, in each engine and dtype."""
    from pipeline.rasterize.pdf import open_document, rasterize  # PyMuPDF, which the workloads do not need

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = Tokenizer.from_file(arguments.model / "tekken.json")
    models = {
        dtype: load_model(arguments.model, device=device, dtype=DTYPES[dtype]) for dtype in arguments.dtype
    }
    with open_document(arguments.document.read_bytes(), arguments.document.name) as opened:
        patch = next(iter(models.values())).config.vision.patch_size
        image, _ = rasterize(opened, 1, max_side=arguments.max_side, patch_size=patch)
    timings = measure(
        models,
        tokenizer,
        image,
        engines=arguments.engine,
        counts=arguments.questions,
        tokens=arguments.tokens,
        repeats=arguments.repeats,
        max_side=arguments.max_side,
    )
    rows = [timing.row(timings) for timing in timings]
    machine = _machine(device)
    height, width = image.shape[:2]
    _table(f"One page of {width} x {height} pixels on {machine}", rows, left=("engine", "dtype"))
    print(json.dumps({"benchmark": "page", "machine": machine, "rows": rows}))
    return 0


def pages(arguments: argparse.Namespace) -> int:
    """Draws the PDFs of a folder with each rasterizer."""
    from jobs.bench.rasterizers import compare  # pypdfium2 and mistral_common come with the tests

    if arguments.repeats < 1:
        raise ValueError(f"--repeats {arguments.repeats}: it must be at least 1")
    files = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
    documents, count, rows = compare(
        files, max_side=arguments.max_side, patch_size=PATCH_SIZE, repeats=arguments.repeats
    )
    machine = f"{platform.machine()}, one core"
    _table(
        f"{count} pages of {documents} PDFs in {arguments.folder} on {machine}",
        rows,
        left=("contender", "compared_with"),
    )
    print(
        json.dumps(
            {"benchmark": "pages", "machine": machine, "documents": documents, "pages": count, "rows": rows}
        )
    )
    return 0


def reading(arguments: argparse.Namespace) -> int:
    """Prints the share of exact answers by kind of document, each as soon as it is known."""
    from jobs.bench.reading import scores  # the generator needs packages that only training installs

    rows = []
    for score in scores(arguments.model, arguments.pages, arguments.max_side):
        print(
            f"{score.kind:<20} {score.right:>4} of {score.asked:>4}  {score.right / score.asked:4.0%}",
            flush=True,
        )
        rows.append({"kind": score.kind, "asked": score.asked, "right": score.right})
    print(json.dumps({"benchmark": "reading", "pages": arguments.pages, "rows": rows}))
    return 0


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"--share {share}: it must be above 0, and 1 at most")


def _every_10_seconds(line: str) -> Callable[[int], None]:
    """Prints the line with the number that it is called with, now and then."""
    last = time.perf_counter()

    def report(number: int) -> None:
        nonlocal last
        if time.perf_counter() - last >= 10:
            last = time.perf_counter()
            print(line.format(number), file=sys.stderr, flush=True)

    return report


def _machine(device: torch.device) -> str:
    threads = f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name()
    return f"{platform.machine()}, {threads}, torch {torch.__version__}"


def _table(title: str, rows: Sequence[Mapping[str, object]], left: tuple[str, ...]) -> None:
    table = Table(title=title)
    names = [name for name in rows[0] if name != "answers"]
    for name in names:
        table.add_column(name.replace("_", " "), justify="left" if name in left else "right")
    for row in rows:
        table.add_row(*["" if row[name] is None else str(row[name]) for name in names])
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)


def keys(arguments: argparse.Namespace) -> int:
    """The price of keys and commits."""
    from jobs.bench.keys import price  # Delta tables, which the other benchmarks do not need

    rows = price(arguments.documents)
    _table(f"keys and commits of {arguments.documents:,} documents on a local disk", rows, ("part",))
    print(json.dumps({"benchmark": "keys", "documents": arguments.documents, "rows": rows}))
    return 0


def memory(arguments: argparse.Namespace) -> int:
    """A run for each number of pages, one after the other."""
    from jobs.bench.memory import draw_curve, ends, measure  # Ray and PyMuPDF, which the engine does not need

    if min(arguments.pages) < 1:
        raise ValueError(f"--pages {min(arguments.pages)}: it must be at least 1")
    rows = []
    for count in arguments.pages:
        rows.append(measure(count, _NANO / "tekken.json", partial(print, file=sys.stderr, flush=True)))
        title = (
            f"MiB in a run over {count:,} pages of {rows[-1]['documents']:,} documents, "
            f"{rows[-1]['pages_per_second']} pages/s"
        )
        _table(title, draw_curve(rows[-1]["curve"]), left=("curve",))
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    _table(f"MiB at most, and in the last tenth of the run, on {machine}", ends(rows), left=("process",))
    print(json.dumps({"benchmark": "memory", "machine": machine, "rows": rows}))
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs.benchmark", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = _command(commands, engine, "pages a second of the batch engine on four workloads")
    _add_model(one)
    one.add_argument(
        "--work",
        nargs="+",
        choices=WORKLOADS,
        default=list(WORKLOADS),
        help="W1: 256 pages of 784 x 1024 pixels, one question of 20 tokens, answers of 16; W2: 64 pages, 8 "
        "questions each; W3: 256 pages, answers of 256; W4: 512 charts of 800 x 608 pixels, answers of 128",
    )
    one.add_argument("--share", type=float, default=1.0, help="run this share of each workload's pages")
    one.add_argument("--dtype", choices=DTYPES, help="default: the faster one of this machine")
    one.add_argument("--fp8", action="store_true", help="multiply in FP8 (GPU)")
    one.add_argument("--fp8-cache", action="store_true", help="keep keys and values in FP8 (GPU)")
    one.add_argument(
        "--step-tokens",
        type=int,
        help="most tokens computed in a step; default: 16384 on a GPU, 8192 on a CPU",
    )
    one.add_argument("--cache-tokens", type=int, help="tokens that the cache holds; default: what fits")
    one.add_argument(
        "--profile", action="store_true", help="also print what the GPU did with its time, by kernel (GPU)"
    )
    one = _command(
        commands, parallel, "one model over several GPUs, and several copies of it, against one GPU"
    )
    _add_model(one)
    one.add_argument(
        "--tensor-parallel", nargs="+", type=int, default=[1, 2], help="GPUs that share a model, in turns"
    )
    one.add_argument(
        "--replicas", nargs="*", type=int, default=[2], help="copies on one GPU each, in turns; may be none"
    )
    one.add_argument("--share", type=float, default=1.0, help="run this share of W1's pages, each copy")
    one.add_argument("--dtype", choices=DTYPES, help="default: the faster one of this machine")
    one.add_argument("--fp8", action="store_true", help="multiply in FP8 (GPU)")
    one.add_argument(
        "--overlap",
        type=int,
        metavar="TOKENS",
        help="compute steps of so many tokens in two halves, each while the other's sums are under way (GPU)",
    )
    one = _command(commands, job, "pages a second of the whole job, against the engine alone")
    _add_model(one)
    one.add_argument("--share", type=float, default=1.0, help="run this share of W1's pages")
    one.add_argument(
        "--folder",
        type=Path,
        help="for the checkpoint (24 GB for pixtral-12b), documents and tables while it runs; default: the "
        "system's for temporary files",
    )
    one = _command(commands, precision, "answers that FP8 changes (GPU)")
    _add_model(one)
    one = _command(
        commands, page, "seconds a page of each engine, and of transformers; needs the [test] extra"
    )
    one.add_argument("--model", type=Path, default=_NANO, help="checkpoint folder")
    one.add_argument(
        "--document",
        type=Path,
        default=Path("samples/documents/invoice.pdf"),
        help="its first page is the page",
    )
    one.add_argument("--max-side", type=int, default=1024, help="longest edge of the page in pixels")
    one.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES), help="compared in turns")
    one.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES), help="compared in turns")
    one.add_argument(
        "--questions", nargs="+", type=int, default=[1, len(QUESTIONS)], help="questions on the page"
    )
    one.add_argument("--tokens", type=int, default=16, help="length of every answer in tokens")
    one.add_argument("--repeats", type=int, default=5, help="timed rounds, after one that warms up")
    one = _command(
        commands, pages, "pages a second of the sandbox, PyMuPDF and pypdfium2; needs the [test] extra"
    )
    one.add_argument("--folder", type=Path, default=Path("samples/documents"), help="its PDFs are drawn")
    one.add_argument("--max-side", type=int, default=1024, help="longest edge of the pages in pixels")
    one.add_argument("--repeats", type=int, default=5, help="timed rounds, after one that warms up")
    one = _command(commands, keys, "the price of keys and commits")
    one.add_argument("--documents", type=int, default=100_000, help="synthetic ones, with an answer each")
    one = _command(commands, memory, "what a run holds in memory, over more and more pages")
    one.add_argument(
        "--pages", nargs="+", type=int, default=[1_000, 10_000, 100_000], help="of each run, of 64 pixels"
    )
    one = _command(
        commands, reading, "right answers about held-out synthetic documents; needs the [train] extra"
    )
    one.add_argument("--model", type=Path, default=_NANO, help="checkpoint folder")
    one.add_argument("--pages", type=int, default=10, help="pages of each kind")
    one.add_argument("--max-side", type=int, default=1024, help="longest edge of the pages in pixels")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    run: Callable[[argparse.Namespace], int],
    about: str,
) -> argparse.ArgumentParser:
    """The command that has the function's name."""
    formatter = argparse.ArgumentDefaultsHelpFormatter
    command = commands.add_parser(run.__name__, help=about, formatter_class=formatter)
    command.set_defaults(run=run)
    return command


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, default=_NANO, help="checkpoint folder")
    parser.add_argument("--shape", choices=SHAPES, help="a model of this shape with random weights instead")


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (ValueError, OSError) as error:
        print(f"jobs.benchmark: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(
            f"jobs.benchmark: {error.name} is not installed. It comes with an extra: "
            f"{sys.executable} -m pip install '.[test]'",
            file=sys.stderr,
        )
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
