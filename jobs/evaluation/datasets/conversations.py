"""MM-MT-Bench (Mistral 2024) and MT-Bench (Zheng et al. 2023, arXiv 2306.05685): what a judge grades.

MM-MT-Bench asks each of its user's messages behind the reference answers before it. MT-Bench asks its second
question behind the model's own answer to the first: `follow` makes that question. FastChat shows its judge
GPT-4's answers as references. The hub has the authors' own instead, and four questions lack one of two: these
are graded without.
"""

import json
from collections.abc import Iterator
from typing import Any

from jobs.evaluation.asked import Asked, Picture, Row, Turn
from jobs.evaluation.datasets.family import Family, picture, texts

REFERRED = ("math", "reasoning", "coding")  # the categories in which the judge sees references
UNWRITTEN = "a judge's rating"  # where there is no reference answer


def _bench(row: Row, name: str) -> Iterator[Asked]:
    """Each of the user's messages is a question, with the reference answers before it as they are."""
    said: list[Turn] = []
    messages: list[Any] = json.loads(row["conversation"])
    for place, message in enumerate(messages):
        said.append(Turn(role=message["role"], parts=_parts(message["content"], row)))
        if message["role"] == "user":
            yield Asked(
                id=f"{name}-{place // 2 + 1}",
                turns=tuple(said),
                question="\n".join(part for part in said[-1].parts if isinstance(part, str)),
                answers=texts(_plain(messages[place + 1]["content"])),
                measures=("judge", "edit_similarity"),
                slices={"category": str(row["category"]), "turn": str(place // 2 + 1)},
                document=name,
            )


def _parts(content: Any, row: Row) -> tuple[str | Picture, ...]:
    if isinstance(content, str):
        return (content,)
    return tuple(picture(row["image"]) if part["type"] == "image" else part["text"] for part in content)


def _plain(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def _hub(row: Row, name: str) -> Iterator[Asked]:
    references = row["reference"] or ()
    whole = len(references) >= len(row["prompt"]) and all(references)
    yield _first(str(row["prompt_id"]), row["category"], row["prompt"], references if whole else ())


def _fastchat(row: Row, name: str) -> Iterator[Asked]:
    """`examples` are GPT-4's answers, which the benchmark's judge is shown."""
    given = row.get("examples") or ()
    references = given[0]["choices"][0]["turns"] if given else ()
    id, category = str(row["question_id"]), str(row["category"])
    if category in REFERRED and len(references) < len(row["turns"]):
        raise ValueError(f"the question {id} ({category}) has no reference answer for the judge")
    yield _first(id, category, row["turns"], references)


def _first(id: str, category: Any, turns: Any, references: Any) -> Asked:
    category, both = str(category), [str(turn) for turn in turns]
    shown = [str(one) for one in references] if category in REFERRED else []
    return Asked(
        id=f"{id}-1",
        turns=(Turn(role="user", parts=(both[0],)),),
        question=both[0],
        answers=(shown[0] if shown else UNWRITTEN,),
        measures=("judge",),
        facts={"references": shown, "following": both[1:2]},
        slices={"category": category, "turn": "1"},
        document=id,
    )


def follow(one: Asked, answer: str) -> Asked | None:
    """The question that follows the model's answer; None where there is none."""
    if not one.facts["following"]:
        return None
    text, references = one.facts["following"][0], one.facts["references"]
    return Asked(
        id=f"{one.document}-2",
        turns=(*one.turns, Turn(role="assistant", parts=(answer,)), Turn(role="user", parts=(text,))),
        question=text,
        answers=(references[1] if references else UNWRITTEN,),
        measures=one.measures,
        facts={"references": references, "following": []},
        slices={**one.slices, "turn": "2"},
        document=one.document,
    )


_GREEDY = "answers are the likeliest ones, where the benchmark draws some at random"
_AUTHORS = "the judge sees the hub's references, in FastChat's folder GPT-4's"
FAMILIES = (
    Family(
        name="mm-mt-bench",
        hub="mistralai/MM-MT-Bench",
        files="data/eval-*.parquet",
        columns=("conversation", "image", "category"),
        ask=_bench,
        max_new_tokens=4_096,
        rows=92,
        judge="gpt-4o-2024-05-13",
        unjudged="the similarity with the reference answer is no grade",
    ),
    Family(
        name="mt-bench",
        hub="HuggingFaceH4/mt_bench_prompts",
        files="data/train-*.parquet",
        columns=("prompt", "prompt_id", "category", "reference"),
        ask=_hub,
        follow=follow,
        max_new_tokens=1_024,
        rows=80,
        note=f"{_GREEDY}; {_AUTHORS}",
        judge="gpt-4",
    ),
    Family(
        name="mt-bench-fastchat",
        hub="",
        files="question.jsonl",
        columns=("question_id", "category", "turns"),
        ask=_fastchat,
        follow=follow,
        max_new_tokens=1_024,
        rows=80,
        examples="reference_answer/gpt-4*.jsonl",
        example_key="question_id",
        note=_GREEDY,
        judge="gpt-4",
    ),
)
