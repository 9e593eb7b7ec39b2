"""VQAv2 (Goyal et al. 2016), TextVQA (Singh et al. 2019) and OCRBench (Liu et al. 2023): short answers.

Each question of the first two has the answers of ten people.
"""

from collections.abc import Iterator

from jobs.evaluation.asked import Asked, Row, ask
from jobs.evaluation.datasets.family import Family, picture, texts
from jobs.evaluation.datasets.prompts import VQAV2

FORMULAS = "HME100k"  # the data set within OCRBench whose answers are formulas


def _vqav2(row: Row, name: str) -> Iterator[Asked]:
    given = [one["answer"] if isinstance(one, dict) else one for one in row["answers"]]
    yield Asked(
        id=str(row["question_id"]),
        turns=ask(f"{row['question']}\n{VQAV2}", picture(row["image"])),
        question=row["question"],
        answers=texts(given),
        measures=("vqa_match", "vqa_accuracy"),
        slices={"answer type": str(row["answer_type"])},
        document=str(row["image_id"]),
    )


def _textvqa(row: Row, name: str) -> Iterator[Asked]:
    yield Asked(
        id=str(row["question_id"]),
        turns=ask(f"{row['question']}\n{VQAV2}", picture(row["image"])),
        question=row["question"],
        answers=texts(row["answers"]),
        measures=("textvqa_accuracy", "vqa_match"),
        document=str(row["image_id"]),
    )


def _ocrbench(row: Row, name: str) -> Iterator[Asked]:
    yield Asked(
        id=name,
        turns=ask(row["question"].strip(), picture(row["image"])),
        question=row["question"],
        answers=texts(row["answer"]),
        measures=("formula_containment" if row["dataset"] == FORMULAS else "containment",),
        slices={"type": str(row["question_type"]), "dataset": str(row["dataset"])},
        document=name,
    )


FAMILIES = (
    Family(
        name="vqav2",
        hub="lmms-lab/VQAv2",
        files="data/validation-*.parquet",
        columns=("question_id", "question", "answers", "answer_type", "image_id", "image", "question_type"),
        ask=_vqav2,
        max_new_tokens=10,
        rows=214_354,
    ),
    Family(
        name="textvqa",
        hub="lmms-lab/textvqa",
        files="data/validation-*.parquet",
        columns=("question_id", "question", "answers", "image_id", "image", "ocr_tokens"),
        ask=_textvqa,
        max_new_tokens=10,
        rows=5_000,
        note="asked with the prompt of VQAv2: Mistral publishes none for TextVQA",
    ),
    Family(
        name="ocrbench",
        hub="echo840/OCRBench",
        files="data/test-*.parquet",
        columns=("dataset", "question", "question_type", "answer", "image"),
        ask=_ocrbench,
        max_new_tokens=128,
        rows=1_000,
    ),
)
