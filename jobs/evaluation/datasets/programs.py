"""HumanEval (Chen et al. 2021, arXiv 2107.03374): functions to be written, scored by running their tests.

The prompt is ours: the benchmark was made for models that continue a text, and those that chat answer with a
fenced block, from which the code is taken.
"""

from collections.abc import Iterator

from jobs.evaluation.asked import Asked, Row, Turn
from jobs.evaluation.datasets.family import Family, texts
from jobs.evaluation.datasets.prompts import HUMANEVAL


def _humaneval(row: Row, name: str) -> Iterator[Asked]:
    yield Asked(
        id=str(row["task_id"]),
        turns=(Turn(role="user", parts=(f"{HUMANEVAL}\n```python\n{row['prompt']}```",)),),
        question=row["prompt"],
        answers=texts(row["canonical_solution"]),
        measures=("pass_at_1",),
        facts={key: str(row[key]) for key in ("prompt", "test", "entry_point")},
        document=str(row["task_id"]),
    )


FAMILIES = (
    Family(
        name="humaneval",
        hub="openai/openai_humaneval",
        files="openai_humaneval/test-*.parquet",
        columns=("task_id", "prompt", "canonical_solution", "test", "entry_point"),
        ask=_humaneval,
        max_new_tokens=1_024,
        rows=164,
        note="asked as a chat, with a prompt of ours; programs may neither open files nor start threads",
    ),
)
