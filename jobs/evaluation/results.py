"""The results of an evaluation: a row for each question, in the order of its data set.

In: an output whose run has finished. Out: the rows, which also become the Delta table OUT/scores. A question
without an answer has a row with its failure's reason, and 0.0 in all measures. Where the model wrote nothing,
that is its answer: of a blank page it is the right one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa
from deltalake import write_deltalake

from jobs.evaluation import questions
from jobs.evaluation.asked import Asked
from jobs.evaluation.measures import JUDGED, score_all
from pipeline.commit.tables import read_table
from pipeline.ingest.delta import storage_options
from pipeline.ingest.storage import absolute

SCORES: Final = pa.schema(
    [
        ("id", pa.string()),
        ("document", pa.string()),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("answer", pa.string()),  # null: there is none
        ("confidence", pa.float64()),
        ("finish_reason", pa.string()),
        ("reason", pa.string()),  # of the failure
        ("message", pa.string()),
        ("measure", pa.string()),  # the headline
        ("score", pa.float64()),  # of the headline
        ("scores", pa.map_(pa.string(), pa.float64())),
        ("slices", pa.map_(pa.string(), pa.string())),
        ("images", pa.list_(pa.string())),  # relative to OUT/questions
        ("pixels", pa.int64()),
        ("output_tokens", pa.int64()),
        ("item_key", pa.string()),
        ("run_id", pa.string()),
    ]
)
_ANSWERS: Final = (
    "uri",
    "item_key",
    "settings_key",
    "run_id",
    "raw_text",
    "confidence",
    "finish_reason",
    "output_tokens",
)
_FAILURES: Final = ("uri", "item_key", "settings_key", "run_id", "reason", "message", "raw_text")
EMPTY: Final = "empty_answer"


@dataclass(frozen=True, kw_only=True)
class Result:
    """A question with what came of it."""

    asked: Asked
    answer: str | None
    confidence: float | None
    finish_reason: str | None
    reason: str | None
    message: str | None
    scores: dict[str, float]
    images: tuple[str, ...]
    pixels: int | None
    output_tokens: int | None
    item_key: str | None
    run_id: str | None

    @property
    def measure(self) -> str:
        """The headline's name."""
        return self.asked.measures[0]

    @property
    def score(self) -> float:
        """The headline's score."""
        return self.scores[self.measure]


Grade = Callable[[Mapping[str, str]], Mapping[str, Mapping[str, float]]]


def collect(output: str, settings_key: str, grade: Grade | None = None) -> list[Result]:
    """The scored rows of a run. `grade` gives a judge's ratings of answers, by their ids.

    A question whose answer was to be judged, and has no rating, is left out.

    Raises ValueError: a question has neither an answer nor a failure.
    """
    root = output.rstrip("/")
    answers = _by_uri(f"{root}/answers/text", _ANSWERS, settings_key)
    failures = _by_uri(f"{root}/failures", _FAILURES, settings_key)
    for uri in [uri for uri, row in failures.items() if row["reason"] == EMPTY]:
        answers.setdefault(uri, failures.pop(uri) | {"reason": None, "message": None})
    stored = list(questions.read(output))
    for one in stored:
        if one.uri not in answers and one.uri not in failures:
            raise ValueError(
                f"{output} has neither an answer nor a failure for the question {one.asked.id}: the same "
                "command continues the run"
            )
    texts = [_text(answers.get(one.uri)) for one in stored]
    if grade is not None:
        stored, texts = _graded(stored, texts, grade)
    scores = score_all((one.asked, text) for one, text in zip(stored, texts, strict=True))
    return [
        _result(one, answers.get(one.uri) or failures[one.uri], text, score)
        for one, text, score in zip(stored, texts, scores, strict=True)
    ]


def answers_of(output: str, settings_key: str) -> dict[str, str]:
    """What the model wrote, by the ids of questions: of those that it answered."""
    rows = _by_uri(f"{output.rstrip('/')}/answers/text", _ANSWERS, settings_key)
    return {one.asked.id: str(rows[one.uri]["raw_text"]) for one in questions.read(output) if one.uri in rows}


def _graded(
    stored: Sequence[questions.Stored], texts: Sequence[str | None], grade: Grade
) -> tuple[list[questions.Stored], list[str | None]]:
    """The questions with their ratings, and their texts, without those that have no rating."""
    said = {one.asked.id: text for one, text in zip(stored, texts, strict=True) if text is not None}
    ratings = grade(said)
    kept = []
    for one, text in zip(stored, texts, strict=True):
        asked = one.asked
        if JUDGED & set(asked.measures) and text is not None:
            if asked.id not in ratings:
                continue
            asked = replace(asked, facts={**asked.facts, "ratings": ratings[asked.id]})
        kept.append((replace(one, asked=asked), text))
    return [one for one, _ in kept], [text for _, text in kept]


def _text(row: dict[str, Any] | None) -> str | None:
    """What the model wrote, to the letter: measures that strip it do so themselves."""
    return None if row is None else str(row["raw_text"])


def _result(one: questions.Stored, row: dict[str, Any], text: str | None, scores: dict[str, float]) -> Result:
    return Result(
        asked=one.asked,
        answer=text,
        scores=scores,
        images=one.images,
        pixels=one.pixels,
        **{name: row.get(name) for name in ("confidence", "finish_reason", "reason", "message")},
        **{name: row.get(name) for name in ("output_tokens", "item_key", "run_id")},
    )


def _by_uri(table: str, columns: Sequence[str], settings_key: str) -> dict[str, dict[str, Any]]:
    rows = read_table(table, columns).to_pylist()
    return {row["uri"]: row for row in rows if row["settings_key"] == settings_key}


def write_scores(output: str, results: Sequence[Result]) -> str:
    """Makes OUT/scores hold these results, in one step; returns its path."""
    place = f"{absolute(output).rstrip('/')}/scores"
    table = pa.Table.from_pylist(list(map(_row, results)), schema=SCORES)
    write_deltalake(
        place, table, mode="overwrite", schema_mode="overwrite", storage_options=storage_options(place)
    )
    return place


def read_scores(output: str) -> list[dict[str, Any]]:
    """The rows of OUT/scores, maps as dicts. Raises ValueError if there are none."""
    rows: list[dict[str, Any]] = read_table(f"{output.rstrip('/')}/scores").to_pylist()
    return [row | {name: dict(row[name]) for name in ("scores", "slices")} for row in rows]


def _row(result: Result) -> dict[str, Any]:
    asked = result.asked
    own = {name: getattr(asked, name) for name in ("id", "document", "question", "answers")}
    names = ("answer", "confidence", "finish_reason", "reason", "message", "measure", "score", "pixels")
    return (
        own
        | {name: getattr(result, name) for name in (*names, "output_tokens", "item_key", "run_id")}
        | {
            "answers": list(asked.answers),
            "scores": list(result.scores.items()),
            "slices": list(asked.slices.items()),
            "images": list(result.images),
        }
    )


def by_slice(results: Sequence[Result]) -> Iterator[tuple[str, str, list[Result]]]:
    """Each slice's name and value with its results: those of the data set, then what every question has."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        for name, value in {**result.asked.slices, **_always(result)}.items():
            groups.setdefault((name, value), []).append(result)
    for (name, value), some in sorted(groups.items()):
        yield name, value, some


def _always(result: Result) -> dict[str, str]:
    words = min(len(answer.split()) for answer in result.asked.answers)
    length = "1 word" if words <= 1 else "2 to 4 words" if words < 5 else "5 words or more"
    found = {"answer length": length, "confidence": _quarter(result.confidence)}
    if result.pixels is not None:
        size = result.pixels / 1e6
        found["page size"] = (
            "below 0.5 megapixels"
            if size < 0.5
            else "0.5 to 2 megapixels"
            if size < 2
            else "2 megapixels or more"
        )
    return found


def _quarter(confidence: float | None) -> str:
    if confidence is None:
        return "no answer"
    low = min(int(confidence * 4), 3) / 4
    return f"{low:.2f} to {low + 0.25:.2f}"
