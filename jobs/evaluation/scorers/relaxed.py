"""Relaxed accuracy: ChartQA's measure (Masry et al. 2022, arXiv 2203.10244, 5.1), as mistral-evals has it.

In: a predicted answer and the accepted ones. Out: 1.0 or 0.0, equal to theirs (at d61811f) on every text;
their classes stand beside each function. A number may be 5% off, text may not. Where theirs raises (an
accepted answer that is infinity), these have a score.
"""

import math
import re
from collections.abc import Sequence

from jobs.evaluation.scorers.texts import some, without_end_punctuation

RELATIVE_ERROR = 0.05  # what ChartQA tolerates of a number
_FOUND_WITH = (
    "is {}",
    "was {}",
    " {}.",
    "are {}",
    "\n\n{}",
)  # where a text counts as the answer of a sentence


def relaxed_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """`RelaxedCorrectness`: the whole prediction is compared.

    "$", commas and punctuation at the end of a number do not count, a percentage may be given as its number
    or as the fraction (12% as 12 or 0.12), an answer of one letter is met by a prediction that begins with
    it, and other text is compared without case and quotes around it. "nan" is a number that equals nothing.
    """
    said = _bare(prediction)
    return float(any(_relaxed(said, _bare(answer)) for answer in some(answers)))


def explicit_relaxed_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """`ExplicitPromptRelaxedCorrectness`: only what follows the last "answer:" counts."""
    said = final_answer(prediction)
    return relaxed_accuracy(said, answers) if said else 0.0


def anywhere_relaxed_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """`AnywhereInAnswerRelaxedCorrectness`: without an "answer:", the accepted one may stand anywhere.

    They say themselves that it is overly generous.
    """
    said = final_answer(prediction)
    if said:
        return relaxed_accuracy(said, answers)
    return float(any(_stands_in(prediction, answer, answers) for answer in some(answers)))


def final_answer(text: str) -> str:
    """The first line with words after the last "answer:", without Markdown; empty if there is none."""
    text = re.sub(r"([aA]nswer)\**:\**", r"\1:", text)
    at = text.lower().rfind("answer:")
    if at == -1:
        return ""
    lines = (line.strip() for line in text[at + len("answer:") :].split("\n"))
    return re.sub(r"[*_\[\]()]", "", next((line for line in lines if line), ""))


def quoted(text: str) -> str:
    """The text without quotes around it. A lone quote is both, and nothing is left."""
    return text[1:-1] if text and text[0] == text[-1] and text[0] in "\"'" else text


def _bare(text: str) -> str:
    if any(char.isdigit() for char in text):
        return without_end_punctuation(text).replace(",", "").replace("$", "")
    return quoted(text)


def _relaxed(said: str, answer: str) -> bool:
    said_number, answer_number = _number(said), _number(answer)
    if said_number is not None and answer_number is not None:
        pairs = [(said_number, answer_number)]
        if said.strip().endswith("%"):
            pairs.append((said_number / 100, answer_number))
        if answer.strip().endswith("%"):
            pairs.append((said_number, answer_number / 100))
        return any(abs(a - b) / max(abs(b), 1e-10) <= RELATIVE_ERROR for a, b in pairs)
    if len(answer) == 1 and answer.isalpha():
        return said[:1].lower() == answer.lower()
    return said.lower() == answer.lower()


def _number(text: str) -> float | None:
    try:
        return float(text.strip().rstrip("%"))
    except ValueError:
        return None


def _stands_in(text: str, answer: str, answers: Sequence[str]) -> bool:
    try:
        number = float(answer)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        shown: float | int = int(number) if number.is_integer() else number
        return format(shown, ",") in text or str(shown) in text
    # Their loop looks for all answers whenever it comes to one that is text.
    return any(pattern.format(one).lower() in text for one in answers for pattern in _FOUND_WITH)
