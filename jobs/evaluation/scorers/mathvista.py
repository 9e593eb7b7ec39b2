"""MathVista's accuracy (Lu et al. 2023, arXiv 2310.02255) by rules alone.

The official scorer has a GPT extract the answer out of the text; here the rules of its quick extraction, and
"Final Answer:", do. So a figure of this measure is not comparable with those of the paper's leaderboard.
"""

import re
from collections.abc import Sequence

from jobs.evaluation.scorers.relaxed import final_answer
from jobs.evaluation.scorers.texts import levenshtein


def mathvista(
    prediction: str,
    answer: str,
    *,
    choices: Sequence[str] = (),
    question_type: str = "free_form",
    answer_type: str = "text",
    precision: int = 0,
) -> float:
    """1.0 if the extracted answer, in the form that the question wants, is the accepted one.

    `question_type` is multi_choice or free_form; `answer_type` is integer, float, list or text; `precision`
    counts the decimals of a float.
    """
    found = _extracted(prediction, choices, question_type, answer_type)
    given = _normalised(found, choices, question_type, answer_type, precision)
    return float(given is not None and given.strip() == answer.strip())


def _extracted(text: str, choices: Sequence[str], question_type: str, answer_type: str) -> str:
    text = text.strip()
    if question_type == "multi_choice" and text in choices:
        return text
    kind = {"integer": int, "float": float}.get(answer_type)
    if kind is not None:
        try:
            return str(kind(text))
        except ValueError:
            pass
    if quoted := re.search(r'The answer is "(.*)"\.', text):
        return quoted[1]
    return final_answer(text) or text


def _normalised(
    found: str, choices: Sequence[str], question_type: str, answer_type: str, precision: int
) -> str | None:
    if question_type == "multi_choice":
        if letters := re.findall(r"\(([a-zA-Z])\)", found):
            found = letters[0].upper()
        found = found.strip()
        place = ord(found) - ord("A") if len(found) == 1 else -1
        if 0 <= place < len(choices):
            return choices[place]
        return min(choices, key=lambda choice: levenshtein(found, choice)) if found else None
    try:
        if answer_type == "integer":
            return str(int(float(found)))
        if answer_type == "float":
            return str(round(float(found), precision))
    except (ValueError, OverflowError):
        return None
    return found
