"""What a report shows of each answer, whatever run it comes from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

MAX_TEXT: Final = 20_000  # characters of one answer that are shown


@dataclass(frozen=True, kw_only=True)
class Item:
    """An answer, or a failure, with the keys of the pictures of its pages."""

    id: str
    document: str
    question: str
    answer: str | None
    page: int | None = None
    accepted: tuple[str, ...] = ()
    confidence: float | None = None
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[Mapping[str, Any], ...] = ()
    """Of a target: path, value, confidence, and box where there is evidence."""
    reason: str | None = None
    message: str | None = None
    pictures: tuple[str, ...] = ()
    """Keys of the pictures of its pages."""
    other: str | None = None
    """In a comparison: the first run's answer, and its score."""
    other_score: float | None = None

    def packed(self) -> dict[str, Any]:
        """As the page's script reads it, without what is empty."""
        values = {
            "id": self.id,
            "d": self.document,
            "q": self.question,
            "a": None if self.answer is None else self.answer[:MAX_TEXT],
            "p": self.page,
            "ok": list(self.accepted),
            "c": self.confidence,
            "s": self.score,
            "all": dict(self.scores),
            "sl": dict(self.slices),
            "f": [dict(one) for one in self.fields],
            "r": self.reason,
            "m": self.message,
            "im": list(self.pictures),
            "oa": None if self.other is None else self.other[:MAX_TEXT],
            "os": self.other_score,
        }
        return {key: value for key, value in values.items() if value not in (None, [], {})}


def of_scores(rows: Iterable[Mapping[str, Any]]) -> Iterator[Item]:
    """The items of OUT/scores."""
    for row in rows:
        yield Item(
            id=row["id"],
            document=row["document"] or row["id"],
            question=row["question"],
            answer=row["answer"],
            accepted=tuple(row["answers"]),
            confidence=row["confidence"],
            score=row["score"],
            scores=row["scores"],
            slices=row["slices"],
            reason=row["reason"],
            message=row["message"],
            pictures=tuple(row["images"] or ()),
        )


def of_pairs(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Iterator[Item]:
    """The items of a comparison: B's, with A's answers beside them."""
    for a, item in zip((a for a, _ in pairs), of_scores(b for _, b in pairs), strict=True):
        said = a["answer"] if a["answer"] is not None else f"no answer: {a['reason']}"
        yield Item(**(vars(item) | {"other": said, "other_score": a["score"]}))
