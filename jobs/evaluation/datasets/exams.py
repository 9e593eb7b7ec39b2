"""MMMU (Yue et al. 2023) and MathVista (Lu et al. 2023): questions of exams, images between their words."""

import re
from collections.abc import Iterator

from jobs.evaluation.asked import Asked, Picture, Row, Turn, ask
from jobs.evaluation.datasets.family import Family, listed, picture, texts
from jobs.evaluation.datasets.prompts import MATHVISTA, MMMU

_IMAGE = re.compile(r"<image (\d+)>")
_EXPLICIT = ("explicit_relaxed_accuracy", "anywhere_relaxed_accuracy")


def _letter(place: int) -> str:
    return chr(ord("A") + place)


def _mmmu(row: Row, name: str) -> Iterator[Asked]:
    multiple = row["question_type"] == "multiple-choice"
    options = [str(option) for option in listed(row["options"])] if multiple else []
    text = "\n".join(
        [row["question"], *(f"{_letter(place)}. {option}" for place, option in enumerate(options))]
    )
    answer = row["answer"]
    yield Asked(
        id=str(row["id"]),
        turns=(Turn(role="user", parts=_interleaved(text, row)),),
        question=text,
        answers=texts(listed(answer) if "[" in answer else answer),
        measures=(*_EXPLICIT, "mmmu"),
        facts={"options": options},
        slices={
            "subject": re.sub(r"^[a-z]+_|_\d+$", "", str(row["id"])),
            "form": str(row["question_type"]),
            "difficulty": str(row.get("topic_difficulty")),
        },
        document=str(row["id"]),
    )


def _interleaved(text: str, row: Row) -> tuple[str | Picture, ...]:
    """The words with the images in their places; the prompt follows the last words."""
    parts: list[str | Picture] = []
    for place, piece in enumerate(_IMAGE.split(text)):
        if place % 2:
            parts.append(picture(row.get(f"image_{piece}")))
        elif piece.strip():
            parts.append(piece)
    if parts and isinstance(parts[-1], str):
        parts[-1] += f"\n{MMMU}"
    else:
        parts.append(MMMU)
    return tuple(parts)


def _mathvista(row: Row, name: str) -> Iterator[Asked]:
    choices = list(row["choices"] or ())
    answer = str(row["answer"])
    about = row.get("metadata") or {}
    yield Asked(
        id=str(row["pid"]),
        turns=ask(f"{row['query']}\n{MATHVISTA}", picture(row["decoded_image"])),
        question=row["question"],
        answers=texts(_letter(choices.index(answer)) if choices else answer),
        measures=(*_EXPLICIT, "mathvista"),
        facts={
            "answer": answer,
            "form": {
                "choices": choices,
                "question_type": row["question_type"],
                "answer_type": row["answer_type"],
                "precision": int(row["precision"] or 0),
            },
        },
        slices={"form": str(row["question_type"]), "task": str(about.get("task"))},
        document=str(row["pid"]),
    )


FAMILIES = (
    Family(
        name="mmmu",
        hub="lmms-lab/MMMU",
        files="data/validation-*.parquet",
        columns=("id", "question", "options", "answer", "question_type", "image_1"),
        ask=_mmmu,
        max_new_tokens=2_048,
        rows=900,
    ),
    Family(
        name="mathvista",
        hub="AI4Math/MathVista",
        files="data/testmini-*.parquet",
        columns=("pid", "question", "decoded_image", "choices", "precision", "answer", "query"),
        ask=_mathvista,
        max_new_tokens=2_048,
        rows=1_000,
    ),
)
