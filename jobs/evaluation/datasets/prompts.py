"""The prompts of the benchmarks, word for word as mistral-evals d61811f has them, their slips included.

`DOCVQA` is also that of `pipeline.plan.prompts.question_prompt`. mistral-evals has none for DUDE, HumanEval and
OmniDocBench, and for JSON by a schema: those are ours, or as said beside them.
"""

# ruff: noqa: E501 # a quoted line stays a line

import json
from typing import Any, Final

VERSION: Final = 2
"""Counts up when a wording changes: it stands in summary.json."""

DOCVQA: Final = "Answer the question using a single word or phrase."

DUDE: Final = f"""\
{DOCVQA} If there are several answers, give all of them, separated by commas.
If the document does not answer it, say "not answerable"."""

VQAV2: Final = """\
- Answer the question using a single word, number, or short phrase. Use as few words as possible.
- If the answer is a number, report it as a number, i.e. 2, not Two, and only include the number without any unit.
- If the question is Yes/No, answer with Yes/No, and nothing else (no likely, unknown, etc.).
- You cannot answer that the question is unanswerable. You must answer."""

_STEPS: Final = """\
Analyze the image and question carefully, using step-by-step reasoning.
First, describe any image provided in detail. Then, present your reasoning. And finally your final answer in this format:
Final Answer: <answer>
"""

CHARTQA: Final = f"""\
{_STEPS}where <answer> follows the following instructions:
- <answer> should should be a single phrase or number.
- <answer> should not paraphrase or reformat the text in the image.
- If <answer> is a ratio, it should be a decimal value like 0.25 instead of 1:4.
- If the question is a Yes/No question, <answer> should be Yes/No.
- If <answer> is a number, it should not contain any units.
- If <answer> is a percentage, it should include a % sign.
- If <answer> is an entity, it should include the full label from the graph.
IMPORTANT: Remember, to end your answer with Final Answer: <answer>."""

MMMU: Final = f"""\
{_STEPS}where <answer> is:
- The single correct letter choice A, B, C, D, E, F, etc. when options are provided. Only include the letter.
- Your direct answer if no options are given, as a single phrase or number.
- If your answer is a number, only include the number without any unit.
- If your answer is a word or phrase, do not paraphrase or reformat the text you see in the image.
- You cannot answer that the question is unanswerable. You must either pick an option or provide a direct answer.
IMPORTANT: Remember, to end your answer with Final Answer: <answer>."""
MATHVISTA: Final = MMMU

OMNIDOCBENCH_TABLE: Final = "Please convert this cropped image directly into html format of table."
"""That of its repository (523fd1d)."""
OMNIDOCBENCH_TEXT: Final = """\
Transcribe the text of this image. Write formulas in it as LaTeX between dollar signs. Answer with the text alone."""
OMNIDOCBENCH_PAGE: Final = """\
Transcribe this page as Markdown. Write all of its text, word for word, in the order in which it is read. \
Write headings with #, lists with - or 1., tables as HTML, and formulas as LaTeX between $ or $$. \
Leave out page headers, page footers and page numbers. Write the Markdown alone."""

HUMANEVAL: Final = "Complete this function. Answer with its whole code in one block, and nothing else."


def with_schema(question: str, schema: Any) -> str:
    """What is asked for, with the JSON Schema of the answer."""
    return (
        f"{question}\n\nJSON schema:\n{json.dumps(schema, ensure_ascii=False)}\n\nAnswer with the JSON alone."
    )
