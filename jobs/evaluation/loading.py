"""A data set becomes the questions of an evaluation."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from jobs.evaluation.asked import Asked, Picture, Turn
from jobs.evaluation.datasets import generic
from jobs.evaluation.datasets.finding import Found
from jobs.evaluation.measures import JUDGED, check_machine_for, check_question
from jobs.evaluation.questions import resolve


def questions(
    found: Found,
    *,
    style: generic.Style,
    measures: tuple[str, ...],
    limit: int | None,
    judged: bool = False,
) -> Iterator[Asked]:
    """The questions of a data set, the first `limit` if given; `judged`: there is a judge.

    Raises ValueError, which names the row; or what is lacking for one of their measures.
    """
    seen = set[str]()
    for row, one in islice(_all(found, style, measures), limit):
        if not judged and JUDGED & set(one.measures):
            others = tuple(name for name in one.measures if name not in JUDGED)
            if not others:
                raise ValueError(
                    f"{found.name} is graded by a judge: give --judge URL and --judge-model NAME"
                )
            one = replace(one, measures=others)
        for name in one.measures:
            if name not in seen:
                check_machine_for(name)
                seen.add(name)
        try:
            check_question(one)
        except ValueError as error:
            raise ValueError(f"{row}: {error}") from error
        yield one


def _all(found: Found, style: generic.Style, measures: tuple[str, ...]) -> Iterator[tuple[str, Asked]]:
    """Each question with what names its row."""
    for name, row in found.rows():
        where = f"row {name} of {found.folder}"
        try:
            if found.family is None:
                asked = list(generic.asked(row, name, style=style, measures=measures))
            else:
                missing = [column for column in found.family.columns if column not in row]
                if missing:
                    raise ValueError(f"it has no {', '.join(missing)}, as {found.family.name} should")
                asked = list(found.family.ask(row, name))
            yield from ((where, _placed(one, row["folder"])) for one in asked)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            what = f"{type(error).__name__}: {error}"
            raise ValueError(f"{where} is not as it should be ({what})") from error


def _placed(one: Asked, folder: str) -> Asked:
    turns = tuple(
        Turn(
            role=turn.role,
            parts=tuple(resolve(part, folder) if isinstance(part, Picture) else part for part in turn.parts),
        )
        for turn in one.turns
    )
    return replace(one, turns=turns)


def followed(
    asked: Iterable[Asked], answers: Mapping[str, str], follow: Callable[[Asked, str], Asked | None]
) -> Iterator[Asked]:
    """The questions that follow the answers to others; no answer is followed as an empty one."""
    for one in asked:
        following = follow(one, answers.get(one.id, ""))
        if following is not None:
            yield following


def note(found: Found, count: int, judge: str | None = None) -> str | None:
    """Why figures of so many questions are not comparable with published ones; None: they are.

    `judge` is its model's name.
    """
    family = found.family
    if family is None:
        return None
    notes = [family.note] if family.note else []
    if family.judge is not None and judge is None:
        notes.append(f"without a judge: {family.unjudged}")
    elif family.judge != judge and family.judge is not None:
        notes.append(f"graded by {judge}, published figures by {family.judge}")
    if count < family.rows:
        notes.insert(0, f"{count:,} of the {family.rows:,} questions of the published split")
    return "; ".join(notes) or None
