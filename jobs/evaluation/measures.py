"""The measures by the names under which data sets, tables and reports know them.

In: what the model wrote, and what was asked. Out: a score from 0.0 to 1.0 of each measure. An item without an
answer has 0.0 in all.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from jobs.evaluation.asked import Asked
from jobs.evaluation.programs.running import check_machine
from jobs.evaluation.scorers.anls import anls, anls_without_threshold, nested_anls
from jobs.evaluation.scorers.docubench import docubench
from jobs.evaluation.scorers.extras import need
from jobs.evaluation.scorers.facts import holds
from jobs.evaluation.scorers.fields import field_f1, is_same, leaf_accuracy, value_f1
from jobs.evaluation.scorers.ifeval import followed
from jobs.evaluation.scorers.lists import dude_anls, mp_docvqa_anls
from jobs.evaluation.scorers.maths import math_equal
from jobs.evaluation.scorers.mathvista import mathvista
from jobs.evaluation.scorers.mmmu import GUESSING_SEED, mmmu_choice, mmmu_open
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

Measure = Callable[[str, Asked, random.Random], float]
JUDGE: Final = "judge"
HIGHEST_RATING: Final = 10
MAX_DEPTH: Final = 100  # of JSON that is scored: deeper ends the recursion of those who walk it


def score_all(asked: Iterable[tuple[Asked, str | None]]) -> Iterator[dict[str, float]]:
    """The scores of each question, in the order of the data set: a measure that guesses depends on it.

    None stands for an item without an answer.
    """
    guess = random.Random(GUESSING_SEED)
    for one, text in asked:
        if text is None:
            yield dict.fromkeys(one.measures, 0.0)
        else:
            yield {name: MEASURES[name](text, one, guess) for name in one.measures}


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
    """Raises ValueError if a measure cannot be computed here: a package, or a part of the kernel, is missing.

    To be called before the model runs, which may take hours.
    """
    if (package := _PACKAGES.get(name)) is not None:
        need(package)
    if name == "pass_at_1":
        check_machine()


_PACKAGES: Final = {
    "nested_anls": "anls_star",
    "math": "math_verify",
    "teds": "apted",
    **dict.fromkeys(
        (f"ifeval_{what}_{how}" for what in ("prompt", "instruction") for how in ("strict", "loose")),
        "langdetect",
    ),
}


def _of_answers(measure: Callable[..., float], **options: Any) -> Measure:
    return lambda text, asked, guess: measure(text, asked.answers, **options)


def _mmmu(text: str, asked: Asked, guess: random.Random) -> float:
    options = asked.facts["options"]
    return mmmu_choice(text, asked.answers, options, guess) if options else mmmu_open(text, asked.answers)


def _dude(text: str, asked: Asked, guess: random.Random) -> float:
    return dude_anls(text, asked.facts["answers"], is_list=asked.facts["is_list"])


def _mathvista(text: str, asked: Asked, guess: random.Random) -> float:
    return mathvista(text, asked.facts["answer"], **asked.facts["form"])


def _same(kind: Any) -> Measure:
    def score(text: str, asked: Asked, guess: random.Random) -> float:
        tolerance = float(asked.facts.get("tolerance", 0.0))
        return float(any(is_same(text, answer, kind, tolerance) for answer in asked.answers))

    return score


def _json(compare: Callable[[Any, Any], float]) -> Measure:
    """A measure of JSON; text that is none is null."""

    def score(text: str, asked: Asked, guess: random.Random) -> float:
        said = parsed(text)
        return max(compare(said, json.loads(answer)) for answer in asked.answers)

    return score


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
    return max(docubench(said, schema, json.loads(answer)) for answer in asked.answers)


def _share(*, loose: bool, whole: bool) -> Measure:
    """Of IF-Eval's instructions, the share that is followed; or 1.0 only if all of them are."""

    def score(text: str, asked: Asked, guess: random.Random) -> float:
        found = followed(text, asked.facts["instructions"], asked.facts["arguments"], loose=loose)
        return float(all(found)) if whole else sum(found) / len(found)

    return score


def weight(name: str, asked: Asked) -> int:
    """How often a question counts in an average: IF-Eval's measures of instructions count each of them."""
    return len(asked.facts["instructions"]) if name.startswith("ifeval_instruction") else 1


def _best(rate: Callable[[str, str], float]) -> Measure:
    """A similarity out of an error rate: 1 - rate, and 0.0 where there are more errors than characters."""
    return lambda text, asked, guess: max(max(0.0, 1.0 - rate(text, answer)) for answer in asked.answers)


MEASURES: Final[Mapping[str, Measure]] = {
    "anls": _of_answers(anls),
    "anls_0": _of_answers(anls_without_threshold),
    "dude_anls": _dude,
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
    "mmmu": _mmmu,
    "mathvista": _mathvista,
    "math": _of_answers(math_equal),
    "number": _same("number"),
    "date": _same("date"),
    "nested_anls": _json(nested_anls),
    "leaf_accuracy": _json(leaf_accuracy),
    "docubench": _docubench,
    "field_f1": _json(lambda said, wanted: field_f1(said, wanted).f1),
    "value_f1": _json(lambda said, wanted: value_f1(said, wanted).f1),
    "teds": lambda text, asked, guess: max(teds(text, answer) for answer in asked.answers),
    "ifeval_prompt_strict": _share(loose=False, whole=True),
    "ifeval_prompt_loose": _share(loose=True, whole=True),
    "ifeval_instruction_strict": _share(loose=False, whole=False),
    "ifeval_instruction_loose": _share(loose=True, whole=False),
    "pass_at_1": lambda text, asked, guess: pass_at_1(text, **asked.facts),
    JUDGE: lambda text, asked, guess: float(asked.facts["rating"]) / HIGHEST_RATING,
    "fact": lambda text, asked, guess: float(holds(asked.facts["fact"], text)),
}
