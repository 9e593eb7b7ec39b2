"""ChartQA (Masry et al. 2022): questions about charts, by people and by machine. Relaxed accuracy scores."""

from collections.abc import Iterator

from jobs.evaluation.asked import Asked, Row, ask
from jobs.evaluation.datasets.family import Family, picture, texts
from jobs.evaluation.datasets.prompts import CHARTQA


def _chartqa(row: Row, name: str) -> Iterator[Asked]:
    yield Asked(
        id=name,
        turns=ask(f"{row['question']}\n{CHARTQA}", picture(row["image"])),
        question=row["question"],
        answers=texts(row["answer"]),
        measures=("explicit_relaxed_accuracy", "anywhere_relaxed_accuracy", "relaxed_accuracy"),
        slices={"type": str(row["type"]).removesuffix("_test")},
        document=name,
    )


FAMILIES = (
    Family(
        name="chartqa",
        hub="lmms-lab/ChartQA",
        files="data/test-*.parquet",
        columns=("type", "question", "answer", "image"),
        ask=_chartqa,
        max_new_tokens=2_048,
        rows=2_500,
    ),
)
