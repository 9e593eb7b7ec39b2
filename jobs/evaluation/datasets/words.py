"""Benchmarks of text alone: MMLU, MATH-500, IF-Eval.

MMLU (Hendrycks et al. 2020) is asked with five examples, each a turn of the conversation, so that the answer
is a letter.
"""

from collections.abc import Iterator

from jobs.evaluation.asked import Asked, Row, Turn
from jobs.evaluation.datasets.family import Family, texts

_MATH = "Solve the problem. Give your final answer in \\boxed{}."
_LETTERS = "ABCD"


def _mmlu(row: Row, name: str) -> Iterator[Asked]:
    """`examples` are the subject's five of the split dev."""
    turns: list[Turn] = []
    for example in row.get("examples") or ():
        turns.append(Turn(role="user", parts=(_multiple(example),)))
        turns.append(Turn(role="assistant", parts=(_LETTERS[example["answer"]],)))
    turns.append(Turn(role="user", parts=(_multiple(row),)))
    yield Asked(
        id=name,
        turns=tuple(turns),
        question=_multiple(row),
        answers=(_LETTERS[row["answer"]],),
        measures=("strict_match", "mmmu"),
        facts={"options": list(row["choices"])},
        slices={"subject": str(row["subject"]), "examples": str(len(row.get("examples") or ()))},
        document=name,
    )


def _multiple(row: Row) -> str:
    options = "\n".join(
        f"{letter}. {option}" for letter, option in zip(_LETTERS, row["choices"], strict=True)
    )
    return f"{row['question'].strip()}\n{options}\nAnswer:"


def _math(row: Row, name: str) -> Iterator[Asked]:
    yield Asked(
        id=str(row.get("unique_id") or name),
        turns=(Turn(role="user", parts=(f"{row['problem']}\n{_MATH}",)),),
        question=row["problem"],
        answers=texts(row["answer"]),
        measures=("math",),
        slices={"subject": str(row["subject"]), "level": str(row["level"])},
        document=name,
    )


def _ifeval(row: Row, name: str) -> Iterator[Asked]:
    """In Parquet the arguments of all instructions are one struct: those that are null are none."""
    yield Asked(
        id=str(row["key"]),
        turns=(Turn(role="user", parts=(row["prompt"],)),),
        question=row["prompt"],
        answers=tuple(row["instruction_id_list"]),
        measures=(
            "ifeval_prompt_strict",
            "ifeval_instruction_strict",
            "ifeval_prompt_loose",
            "ifeval_instruction_loose",
        ),
        facts={
            "instructions": list(row["instruction_id_list"]),
            "arguments": [
                {key: value for key, value in given.items() if value is not None} for given in row["kwargs"]
            ],
        },
        document=name,
    )


FAMILIES = (
    Family(
        name="mmlu",
        hub="cais/mmlu",
        files="all/test-*.parquet",
        columns=("question", "subject", "choices", "answer"),
        ask=_mmlu,
        max_new_tokens=1,
        rows=14_042,
        examples="all/dev-*.parquet",
        example_key="subject",
        note="the five examples are turns of a chat; the published figure may be of one plain text",
    ),
    Family(
        name="math",
        hub="HuggingFaceH4/MATH-500",
        files="test.jsonl",
        columns=("problem", "solution", "answer", "subject", "level"),
        ask=_math,
        max_new_tokens=2_048,
        rows=500,
        note="MATH-500, a subset; compared as mathematics, where the official scorer compares text",
    ),
    Family(
        name="ifeval",
        hub="google/IFEval",
        files="ifeval_input_data.jsonl",
        columns=("key", "prompt", "instruction_id_list", "kwargs"),
        ask=_ifeval,
        max_new_tokens=1_280,
        rows=541,
        note="sentences and words in capitals are counted by a rule, where the benchmark asks models of nltk",
    ),
)
