"""The measures by the names under which data sets, tables and reports know them.

In: what the model wrote, and what was asked. Out: a score from 0.0 to 1.0 of each measure. An item without an
answer has 0.0 in all. What a measure cannot score is found before the model runs, which may take hours.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from statistics import fmean
from typing import Any, Final

from jobs.evaluation.asked import Asked
from jobs.evaluation.programs.running import check_machine
from jobs.evaluation.scorers.anls import anls, anls_without_threshold, nested_anls
from jobs.evaluation.scorers.docubench import docubench
from jobs.evaluation.scorers.extractbench import extractbench
from jobs.evaluation.scorers.extras import need
from jobs.evaluation.scorers.facts import holds
from jobs.evaluation.scorers.fields import field_f1, is_same, leaf_accuracy, value_f1
from jobs.evaluation.scorers.ifeval import followed
from jobs.evaluation.scorers.lists import dude_anls, mp_docvqa_anls
from jobs.evaluation.scorers.maths import math_equal
from jobs.evaluation.scorers.mathvista import mathvista
from jobs.evaluation.scorers.mmmu import GUESSING_SEED, mmmu_choice, mmmu_open
from jobs.evaluation.scorers.omnidocbench import table_similarity, text_similarity
from jobs.evaluation.scorers.omnidocbench_pages import page_order, page_tables, page_text, tables_of
from jobs.evaluation.scorers.programs import pass_at_1
from jobs.evaluation.scorers.relaxed import (
    anywhere_relaxed_accuracy,
    explicit_relaxed_accuracy,
    relaxed_accuracy,
)
from jobs.evaluation.scorers.teds import teds
from jobs.evaluation.scorers.texts import (
    character_error_rate,
    containment,
    edit_similarity,
    exact_match,
    strict_match,
    word_error_rate,
)
from jobs.evaluation.scorers.vqa import textvqa_accuracy, vqa_accuracy, vqa_match
from pipeline.parse.answers import FENCE

Score = Callable[[str, Asked, random.Random], float]
JUDGE: Final = "judge"
HIGHEST_RATING: Final = 10
MAX_DEPTH: Final = 100  # of JSON that is scored: deeper ends the recursion of those who walk it
_PROBE: Final = "{}"  # an answer that any measure can score
_KINDS: Final = {bool: "true or false", dict: "an object", list: "a list", str: "a text"}


@dataclass(frozen=True)
class Measure:
    """A score, and what it wants."""

    score: Score
    _: KW_ONLY
    needs: Mapping[str, type] = field(default_factory=dict)
    """The facts that a question must have, and their types."""
    is_tried: bool = False
    """Whether there are questions with all facts that it cannot score: each is tried with some answer."""
    is_judged: bool = False
    """Whether a judge's ratings are needed; the fact `ratings` has them by their names."""
    machine: Callable[[], object] | None = None
    """Raises ValueError where it cannot be computed: a package, or a part of the kernel, is missing."""


def score_all(asked: Iterable[tuple[Asked, str | None]]) -> Iterator[dict[str, float]]:
    """The scores of each question, in the order of the data set: a measure that guesses depends on it.

    None stands for an item without an answer.
    """
    guess = random.Random(GUESSING_SEED)
    for one, text in asked:
        if text is None:
            yield dict.fromkeys(one.measures, 0.0)
        else:
            yield {name: MEASURES[name].score(text, one, guess) for name in one.measures}


def check(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Names of measures that a data set gives. Raises ValueError, which says where, for an unknown one."""
    found = tuple(names)
    for name in found:
        if name not in MEASURES:
            raise ValueError(f"{where} wants the measure {name!r}; known are {', '.join(MEASURES)}")
    if not found:
        raise ValueError(f"{where} names no measure")
    return found


def check_machine_for(name: str) -> None:
    """Raises ValueError if a measure cannot be computed here: a package or a part of the kernel is missing.

    To be called before the model runs, as `check_question`.
    """
    if (machine := MEASURES[name].machine) is not None:
        machine()


def check_question(asked: Asked) -> None:
    """Raises ValueError if one of its measures cannot score a question, whatever the answer."""
    for name in asked.measures:
        measure = MEASURES[name]
        for fact, kind in measure.needs.items():
            if asked.facts.get(fact) is None:
                raise ValueError(f"it has no {fact} ({_KINDS[kind]}), which the measure {name} needs")
            if not isinstance(asked.facts[fact], kind):
                raise ValueError(f"its {fact} is not {_KINDS[kind]}, as the measure {name} needs it")
        if measure.is_tried:
            try:
                measure.score(_PROBE, asked, random.Random())
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise ValueError(f"the measure {name} cannot score it: {error}") from error


def _of_answers(score: Callable[..., float], package: str | None = None, **options: Any) -> Measure:
    return Measure(
        lambda text, asked, guess: score(text, asked.answers, **options),
        machine=partial(need, package) if package else None,
    )


def _mmmu(text: str, asked: Asked, guess: random.Random) -> float:
    options = asked.facts["options"]
    return mmmu_choice(text, asked.answers, options, guess) if options else mmmu_open(text, asked.answers)


def _dude(text: str, asked: Asked, guess: random.Random) -> float:
    return dude_anls(text, asked.facts.get("answers", asked.answers), is_list=asked.facts["is_list"])


def _mathvista(text: str, asked: Asked, guess: random.Random) -> float:
    return mathvista(text, asked.facts.get("answer", asked.answers[0]), **asked.facts["form"])


def _same(kind: Any) -> Measure:
    def score(text: str, asked: Asked, guess: random.Random) -> float:
        tolerance = float(asked.facts.get("tolerance", 0.0))
        return float(any(is_same(text, answer, kind, tolerance) for answer in asked.answers))

    return Measure(score, is_tried=True)


def _json(compare: Callable[[Any, Any], float], package: str | None = None) -> Measure:
    """A measure of JSON; text that is none is null."""

    def score(text: str, asked: Asked, guess: random.Random) -> float:
        said = parsed(text)
        return max(compare(said, _accepted(answer)) for answer in asked.answers)

    return Measure(score, is_tried=True, machine=partial(need, package) if package else None)


def _accepted(answer: str) -> Any:
    """The JSON that an accepted answer is. Raises ValueError if it is none."""
    try:
        return json.loads(answer)
    except ValueError as error:
        raise ValueError(f"the accepted answer {answer[:80]!r} is not JSON") from error


def parsed(text: str) -> Any:
    """The JSON that an answer is, or that stands in its fenced block; None if there is none."""
    fenced = FENCE.search(text)
    try:
        found = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return None
    return found if _is_shallow(found, MAX_DEPTH) else None


def _is_shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(_is_shallow(one, levels - 1) for one in inner)


def _docubench(text: str, asked: Asked, guess: random.Random) -> float:
    said, schema = parsed(text), asked.facts["schema"]
    if not isinstance(said, dict):
        return 0.0
    return max(docubench(said, schema, _accepted(answer)) for answer in asked.answers)


def _extractbench(figure: str, *, is_judged: bool = True) -> Measure:
    """Before a judge was asked, all measures of an empty extraction can be tried: it has nothing to judge."""

    def score(text: str, asked: Asked, guess: random.Random) -> float:
        ratings = asked.facts.get("ratings", {}) if is_judged else None
        found = extractbench(parsed(text), asked.facts["schema"], _accepted(asked.answers[0]), ratings)
        return float(getattr(found, figure))

    return Measure(score, needs={"schema": dict}, is_tried=True, is_judged=is_judged)


def _share(*, loose: bool, whole: bool) -> Measure:
    """Of IF-Eval's instructions, the share that is followed; or 1.0 only if all of them are."""

    def score(text: str, asked: Asked, guess: random.Random) -> float:
        found = followed(text, asked.facts["instructions"], asked.facts["arguments"], loose=loose)
        return float(all(found)) if whole else sum(found) / len(found)

    return Measure(
        score,
        needs={"instructions": list, "arguments": list},
        is_tried=True,
        machine=partial(need, "langdetect"),
    )


def _passes(text: str, asked: Asked, guess: random.Random) -> float:
    return pass_at_1(text, **{name: asked.facts[name] for name in _PROBLEM})


def weight(name: str, asked: Asked) -> int:
    """How often a question counts in an average: for each of its instructions, for each table of its page."""
    if name == "omnidocbench_page_teds":
        return len(tables_of(asked.facts["blocks"]))
    return len(asked.facts["instructions"]) if name.startswith("ifeval_instruction") else 1


def _mean_teds(text: str, page: Any) -> float:
    if not tables_of(page):
        raise ValueError("there is no table on its page")
    return fmean(page_tables(text, page))


def _page(score: Callable[[str, Any], float]) -> Measure:
    return Measure(
        lambda text, asked, guess: max(0.0, score(text, asked.facts["blocks"])),
        needs={"blocks": list},
        is_tried=True,
        machine=partial(need, "pylatexenc"),
    )


def _nearest(score: Callable[[str, str], float], **options: Any) -> Measure:
    """A similarity with the nearest accepted answer."""
    return Measure(lambda text, asked, guess: max(score(text, answer) for answer in asked.answers), **options)


def _best(rate: Callable[[str, str], float]) -> Measure:
    """A similarity out of an error rate: 1 - rate, and 0.0 where there are more errors than characters."""
    return Measure(
        lambda text, asked, guess: max(max(0.0, 1.0 - rate(text, answer)) for answer in asked.answers)
    )


_PROBLEM: Final = {"prompt": str, "test": str, "entry_point": str}
MEASURES: Final[Mapping[str, Measure]] = {
    "anls": _of_answers(anls),
    "anls_0": _of_answers(anls_without_threshold),
    "dude_anls": Measure(_dude, needs={"is_list": bool}, is_tried=True),
    "mp_docvqa_anls": _of_answers(mp_docvqa_anls),
    "exact_match": _of_answers(exact_match),
    "strict_match": _of_answers(strict_match),
    "relaxed_accuracy": _of_answers(relaxed_accuracy),
    "explicit_relaxed_accuracy": _of_answers(explicit_relaxed_accuracy),
    "anywhere_relaxed_accuracy": _of_answers(anywhere_relaxed_accuracy),
    "vqa_accuracy": _of_answers(vqa_accuracy),
    "vqa_match": _of_answers(vqa_match),
    "textvqa_accuracy": _of_answers(textvqa_accuracy),
    "containment": _of_answers(containment),
    "formula_containment": _of_answers(containment, formula=True),
    "edit_similarity": _of_answers(edit_similarity),
    "character_accuracy": _best(character_error_rate),
    "word_accuracy": _best(word_error_rate),
    "mmmu": Measure(_mmmu, needs={"options": list}, is_tried=True),
    "mathvista": Measure(_mathvista, needs={"form": dict}, is_tried=True),
    "math": _of_answers(math_equal, package="math_verify"),
    "number": _same("number"),
    "date": _same("date"),
    "nested_anls": _json(nested_anls, package="anls_star"),
    "leaf_accuracy": _json(leaf_accuracy),
    "docubench": Measure(_docubench, needs={"schema": dict}, is_tried=True),
    "field_f1": _json(lambda said, wanted: field_f1(said, wanted).f1),
    "value_f1": _json(lambda said, wanted: value_f1(said, wanted).f1),
    "teds": _nearest(teds, is_tried=True),
    "omnidocbench_teds": _nearest(table_similarity, is_tried=True),
    "omnidocbench_page_text": _page(page_text),
    "omnidocbench_page_order": _page(page_order),
    "omnidocbench_page_teds": _page(_mean_teds),
    "omnidocbench_text": _nearest(text_similarity, machine=partial(need, "pylatexenc")),
    "ifeval_prompt_strict": _share(loose=False, whole=True),
    "ifeval_prompt_loose": _share(loose=True, whole=True),
    "ifeval_instruction_strict": _share(loose=False, whole=False),
    "ifeval_instruction_loose": _share(loose=True, whole=False),
    "pass_at_1": Measure(_passes, needs=_PROBLEM, machine=check_machine),
    JUDGE: Measure(lambda text, asked, guess: asked.facts["ratings"][""] / HIGHEST_RATING, is_judged=True),
    "extractbench_f1": _extractbench("f1"),
    "extractbench_pass_rate": _extractbench("pass_rate"),
    "extractbench_score": _extractbench("mean_score"),
    "extractbench_unjudged_f1": _extractbench("f1", is_judged=False),
    "fact": Measure(
        lambda text, asked, guess: float(holds(asked.facts["fact"], text)),
        needs={"fact": dict},
        is_tried=True,
    ),
}
JUDGED: Final = frozenset(name for name, measure in MEASURES.items() if measure.is_judged)
"""The measures for which a judge is asked."""
NEEDED: Final = frozenset(name for measure in MEASURES.values() for name in measure.needs)
"""The names of all facts that some measure must have."""
