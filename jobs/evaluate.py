"""Measure a checkpoint on a benchmark, or on questions of your own, and write a report that people look at.

Reads a data set as it is published, asks its questions through the flow of jobs.extract, and scores the
answers as the field does. `python -m jobs.evaluate compare A B` compares two evaluations of the same
questions.
"""

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from jobs.run.endings import INTERRUPTED, code_of, sentence_of
from jobs.run.model_flags import NANO, count_or_auto
from jobs.run.parser import Parser
from jobs.run.signals import sigterm_stops
from jobs.run.terminal import say, say_error, start_output

EPILOG = """\
data sets:
  docvqa, infographicvqa, mp-docvqa, chartqa, vqav2, textvqa, ocrbench, mmmu, mathvista, mmlu, math,
  ifeval, humaneval, mm-mt-bench, mt-bench, olmocr-bench, omnidocbench; owner/name of any other on the hub;
  or a path: a file or a folder of one of these, as published, or of DUDE, DocuBench or ExtractBench; or
  Parquet or JSON lines with image, images or document, question, answers and metric

measures of your own questions:
  texts           anls, anls_0, exact_match, strict_match, containment, formula_containment, edit_similarity,
                  character_accuracy, word_accuracy, omnidocbench_text, math, judge
  numbers         number, date, relaxed_accuracy, explicit_relaxed_accuracy, anywhere_relaxed_accuracy
  several people  vqa_accuracy, vqa_match, textvqa_accuracy
  JSON, tables    field_f1, value_f1, leaf_accuracy, nested_anls, docubench, teds, omnidocbench_teds,
                  extractbench_f1, extractbench_pass_rate, extractbench_score, extractbench_unjudged_f1
  benchmarks      dude_anls, mp_docvqa_anls, mmmu, mathvista, fact, pass_at_1, ifeval_prompt_strict,
                  ifeval_prompt_loose, ifeval_instruction_strict, ifeval_instruction_loose,
                  omnidocbench_page_text, omnidocbench_page_order, omnidocbench_page_teds
  docs/evaluation.md says what each is, and which columns some of them need.

examples:
  # your own questions, with the model for trying
  python -m jobs.evaluate questions.jsonl --output out/mine

  # a published benchmark
  python -m jobs.evaluate docvqa --model ~/models/Pixtral-12B-2409 --output out/docvqa

  # conversations, graded by another model
  python -m jobs.evaluate mm-mt-bench --judge https://api.openai.com/v1 --judge-model gpt-4o-2024-05-13

  # is the second checkpoint better than the first? compare --help says more
  python -m jobs.evaluate compare out/first out/second

output, beside the tables of jobs.extract:
  OUT/scores/       a row for each question: answer, confidence, score of each measure
  OUT/summary.json  scores with intervals, slices, calibration; model, data set, prompts, versions
  OUT/report.html   the same to look at, with the pages
  OUT/questions/    the questions as they were asked, and their images

An item without an answer counts as wrong. The same command continues an evaluation that was cut.

judge:
  --judge URL is an endpoint in OpenAI's form, such as http://host:8000/v1, and gets questions, images and
  answers of mm-mt-bench, mt-bench, ExtractBench, and rows whose metric is judge or one of ExtractBench's.
  JUDGE_API_KEY is its key, if it wants one.
  OUT/judgements.jsonl holds what it said.

exit code:
  as that of jobs.extract: 0 done, 1 broke off, 130 stopped, 2 a mistake, and nothing was started
"""


def make_parser() -> Parser:
    """All flags of an evaluation."""
    parser = Parser("evaluate", description=__doc__, epilog=EPILOG)
    parser.add_argument("data", metavar="DATASET", help="a name, owner/name on the hub, or a path; see below")
    parser.add_argument(
        "--output", metavar="OUT", help="folder or prefix in a cloud (default: out/DATASET-MODEL)"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="the first N questions alone, in an OUT of their own"
    )
    add = parser.add_argument_group("questions of your own").add_argument
    add(
        "--measure",
        dest="measures",
        action="append",
        metavar="NAME",
        help="of rows without a metric; repeat it for several (default: anls)",
    )
    add(
        "--style",
        choices=["short", "free"],
        help="short: answered with a single word or phrase; free: as the question itself says "
        "(default: short)",
    )
    add = parser.add_argument_group("judge").add_argument
    add("--judge", metavar="URL", help="endpoint of a model that grades answers (default: none)")
    add("--judge-model", metavar="NAME", help="its model")
    add = parser.add_argument_group("model, as in jobs.extract").add_argument
    add("--model", default=str(NANO), metavar="MODEL", help="checkpoint (default: model/nano)")
    add("--max-side", type=int, metavar="PIXELS", help="longest edge at which the model sees a page")
    add(
        "--max-new-tokens",
        type=int,
        metavar="N",
        help="tokens after which an answer is cut (default: the benchmark's own, or 128)",
    )
    add("--dtype", choices=["auto", "float32", "bfloat16", "fp8"], default="auto", help="(default: auto)")
    add("--cache-dtype", choices=["auto", "fp8"], default="auto", help="(default: auto)")
    add("--tensor-parallel", type=int, default=1, metavar="N", help="GPUs that share each copy of the model")
    add("--replicas", type=count_or_auto, default="auto", metavar="M|auto", help="copies of the model")
    add("--batch-size", type=int, metavar="N", help="prompts that a replica is given at a time")
    parser.take_config_file()
    return parser


def make_compare_parser() -> Parser:
    """The flags of a comparison."""
    parser = Parser(
        "evaluate compare",
        description="Compare two evaluations of the same questions by a paired test; writes B/compare.html.",
    )
    parser.add_argument("first", metavar="A", help="--output of an evaluation")
    parser.add_argument("second", metavar="B", help="--output of another one, of the same questions")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    start_output(logging.WARNING)
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["compare"]:
            given = make_compare_parser().parse_args(words[1:])
            return _compare(given.first, given.second)
        with sigterm_stops():
            return _evaluate(make_parser().parse_args(words))
    except ValueError as error:
        say_error(sentence_of(error))
        return code_of(error)
    except KeyboardInterrupt:  # while questions are read, or answers scored
        say_error("stopped: the same command continues")
        return INTERRUPTED


def _evaluate(given: argparse.Namespace) -> int:
    # Only here, so that --help and a mistyped flag answer at once: these import torch.
    from jobs.evaluation import loading, questions
    from jobs.evaluation.datasets.finding import find
    from jobs.evaluation.datasets.prompts import VERSION
    from jobs.evaluation.measures import check
    from pipeline.plan.model_place import model_name

    if given.limit is not None and given.limit < 1:
        raise ValueError(f"--limit {given.limit}: it must be at least 1")
    measures = check(given.measures or ["anls"], "--measure")
    judge = _judge(given)
    found = find(given.data)
    family = found.family
    for flag, value in (("--measure", given.measures), ("--style", given.style)):
        if family is not None and value:
            raise ValueError(
                f"{flag} is for questions of your own, and {found.name} has its own: leave it out"
            )
    if judge is not None and family is not None and family.judge is None:
        raise ValueError(f"--judge: {found.name} is scored without one: leave it out")
    model = model_name(given.model).rpartition("/")[2]
    output = given.output or f"out/{found.name}-{model}"

    asked: Iterable[Any] = loading.questions(
        found, style=given.style or "short", measures=measures, limit=given.limit, judged=judge is not None
    )
    follow = family.follow if family is not None else None
    if follow is not None:
        asked = list(asked)  # read again, once there are answers
    source = questions.write(
        output,
        asked,
        name=found.name,
        place=given.data,
        note=lambda count: loading.note(found, count, judge.model if judge else None),
        prompts=VERSION,
    )
    tokens = family.max_new_tokens if family is not None else None
    first = questions.parquets_of(output)[:1]
    code = _answer(given, output, first, tokens)
    if follow is not None and not code:
        questions.write_following(output, loading.followed(asked, _answers(output), follow))
        # Both files, so that run.json has them all; what was answered is not asked again.
        code = _answer(given, output, questions.parquets_of(output), tokens)
    return code or _conclude(output, source, judge)


def _judge(given: argparse.Namespace) -> Any:
    """The judge, which answers; None if none is given. Raises ValueError."""
    from jobs.evaluation.judging.client import Endpoint

    if given.judge is None and given.judge_model is None:
        return None
    if given.judge is None or given.judge_model is None:
        raise ValueError("--judge URL and --judge-model NAME go together")
    judge = Endpoint(url=given.judge, model=given.judge_model, key=os.environ.get("JUDGE_API_KEY"))
    judge.check()
    return judge


def _answer(given: argparse.Namespace, output: str, files: tuple[str, ...], tokens: int | None) -> int:
    """Asks the questions in files; returns the exit code."""
    from pipeline.prepare import prepare

    with prepare(_config(given, output, files, tokens), say=say) as prepared:
        # Only once no mistake was found: this imports Ray.
        from jobs.run.runner import carry_out

        return carry_out(prepared)


def _answers(output: str) -> Any:
    from jobs.evaluation.results import answers_of
    from pipeline.commit.manifest import read_record

    return answers_of(output, read_record(output)["plan"]["asks"][0]["settings_key"])


def _config(given: argparse.Namespace, output: str, files: tuple[str, ...], tokens: int | None) -> Any:
    from pipeline.config import QUESTION_TOKENS, FlowConfig

    same = ("model", "max_side", "dtype", "cache_dtype", "tensor_parallel", "replicas", "batch_size")
    return FlowConfig(
        inputs=files,
        output=output,
        messages_column="messages",
        id_column="prompt_id",
        max_new_tokens=given.max_new_tokens or tokens or QUESTION_TOKENS,
        **{name: getattr(given, name) for name in same},
    )


def _conclude(output: str, source: Any, judge: Any) -> int:
    """Scores what the run has left, writes it in all forms, and prints the headline."""
    from jobs.evaluation import results, summary
    from jobs.evaluation.judging.grading import Grader
    from jobs.evaluation.printing import print_summary
    from jobs.evaluation.report.writing import write_evaluation
    from pipeline.commit.manifest import read_record
    from pipeline.plan.model_place import find_model, key_of

    record = read_record(output)
    record["model_key"] = key_of(find_model(record["config"]["model"]))
    grader = Grader(output, judge) if judge is not None else None
    scored = results.collect(output, record["plan"]["asks"][0]["settings_key"], grader)
    if not scored:
        reasons = ", ".join(grader.failures) if grader is not None else ""
        say_error(f"error: the judge graded no answer: {reasons}")
        return 1
    figures = summary.summarise(source, scored, record, grader.about() if grader is not None else None)
    results.write_scores(output, scored)
    summary.write(output, figures)
    write_evaluation(output, figures, results.read_scores(output))
    print_summary(output, figures)
    return 0


def _compare(first: str, second: str) -> int:
    from jobs.evaluation.comparing import compare_runs
    from jobs.evaluation.printing import print_comparison
    from jobs.evaluation.report.writing import write_comparison

    found = compare_runs(first, second)
    print_comparison(first, second, found)
    say(f"compare.html {write_comparison(first, second, found)}", sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
