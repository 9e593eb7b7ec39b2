"""Scores of answers: pure functions, each with the source of its measure.

In: a predicted answer and the accepted ones. Out: a score from 0.0 to 1.0. Averages over a data set are the
caller's. Without accepted answers there is no score: ValueError, not 0.0.
"""

import string
from collections.abc import Sequence

RELATIVE_ERROR = 0.05  # what ChartQA tolerates of a number


def anls(prediction: str, answers: Sequence[str], *, threshold: float = 0.5) -> float:
    """Normalised Levenshtein similarity with the nearest accepted answer; ANLS is its average over questions.

    1 - distance / length of the longer text, or 0.0 where that is below `threshold`. Case and runs of white
    space do not count. The DocVQA leaderboard uses 0.5; its script keeps a similarity of exactly 0.5, which
    the paper (Biten et al. 2019, arXiv 1905.13648) drops. mistral-evals uses 0.0, after
    `without_end_punctuation` on both sides.
    """
    said = _folded(prediction)
    best = max(_similarity(said, _folded(answer)) for answer in _some(answers))
    return best if best >= threshold else 0.0


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction is an accepted answer. Case and runs of white space do not count."""
    return float(_folded(prediction) in [_folded(answer) for answer in _some(answers)])


def relaxed_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """ChartQA's measure (Masry et al. 2022, arXiv 2203.10244, 5.1): a number may be 5% off, text may not.

    As in mistral-evals `RelaxedCorrectness`: "$", commas and punctuation at the end of a number do not count,
    a percentage may be given as its number or as the fraction (12% as 12 or 0.12), an answer of one letter is
    met by a prediction that begins with it, and other text is compared without case and quotes around it.
    """
    said = _bare(prediction)
    return float(any(_relaxed(said, _bare(answer)) for answer in _some(answers)))


def character_errors(prediction: str, text: str) -> int:
    """Characters to insert, delete or replace until a transcription is the text; white space does not count.

    Over the characters of the text, this is the character error rate (CER) of OCR; it may exceed 1.
    """
    return levenshtein("".join(prediction.split()), "".join(text.split()))


def without_end_punctuation(text: str) -> str:
    """The text without punctuation and white space at its end, but for a percent sign: "12%." -> "12%"."""
    return text.rstrip((string.punctuation + string.whitespace).replace("%", ""))


def levenshtein(a: str, b: str) -> int:
    """The least number of characters to insert, delete or replace that turns one text into the other."""
    row = list(range(len(b) + 1))  # distances of a's first i characters to each prefix of b
    for i, char in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (char != other))
    return row[-1]


def _some(answers: Sequence[str]) -> Sequence[str]:
    if not answers or isinstance(answers, str):
        raise ValueError(f"scoring needs a list with at least one accepted answer, not {answers!r}")
    return answers


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _similarity(a: str, b: str) -> float:
    longer = max(len(a), len(b))
    return 1.0 - levenshtein(a, b) / longer if longer else 1.0


def _bare(text: str) -> str:
    text = text.strip()
    if any(char.isdigit() for char in text):
        return without_end_punctuation(text).replace(",", "").replace("$", "").strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _relaxed(said: str, answer: str) -> bool:
    said_number, answer_number = _number(said), _number(answer)
    if said_number is not None and answer_number is not None:
        pairs = [(said_number, answer_number)]
        if said.endswith("%"):
            pairs.append((said_number / 100, answer_number))
        if answer.endswith("%"):
            pairs.append((said_number, answer_number / 100))
        return any(abs(a - b) / max(abs(b), 1e-10) <= RELATIVE_ERROR for a, b in pairs)
    if len(answer) == 1 and answer.isalpha():
        return said[:1].lower() == answer.lower()
    return said.lower() == answer.lower()


def _number(text: str) -> float | None:
    if not any(char.isdigit() for char in text):
        return None  # float() would read "nan" and "infinity"
    try:
        return float(text.rstrip("%"))
    except ValueError:
        return None
