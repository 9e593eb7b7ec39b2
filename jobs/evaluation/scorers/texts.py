"""Plain comparisons of texts: equal, near, contained, and the error rates of a transcription.

In: a predicted text and the accepted ones. Out: a score from 0.0 to 1.0, or an error rate, which may exceed
1. Averages over a data set are the caller's. Without accepted answers there is no score: ValueError, not 0.0.
"""

import string
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction is an accepted answer. Case and runs of white space do not count."""
    return float(folded(prediction) in [folded(answer) for answer in some(answers)])


def strict_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction is an accepted answer to the letter, white space around it aside."""
    return float(prediction.strip() in [answer.strip() for answer in some(answers)])


def containment(prediction: str, answers: Sequence[str], *, formula: bool = False) -> float:
    """OCRBench's measure (Liu et al. 2023, arXiv 2305.07895): 1.0 if an accepted answer stands in the text.

    Case and the width of letters do not count. A formula (its data set HME100k) is compared without any
    blanks, and with its case.
    """
    prepare = _without_blanks if formula else _narrow
    said = prepare(prediction)
    return float(any(prepare(answer) in said for answer in some(answers)))


def edit_similarity(prediction: str, answers: Sequence[str]) -> float:
    """1 - edit distance / length of the longer text, with the nearest accepted answer, to the letter."""
    return max(similarity(prediction, answer) for answer in some(answers))


def character_errors(prediction: str, text: str) -> int:
    """Characters to insert, delete or replace until a transcription is the text; white space does not count.

    Over the characters of the text, this is the character error rate (CER) of OCR; it may exceed 1.
    """
    return levenshtein("".join(prediction.split()), "".join(text.split()))


def character_error_rate(prediction: str, text: str) -> float:
    """CER as jiwer computes it: white space between words counts as one character each."""
    return _rate(" ".join(prediction.split()), " ".join(text.split()))


def word_error_rate(prediction: str, text: str) -> float:
    """WER as jiwer computes it: words to insert, delete or replace, over the words of the text."""
    return _rate(prediction.split(), text.split())


def _rate(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Edits for each element of what is wanted. Where nothing is wanted, any other text counts as 1."""
    return Levenshtein.distance(said, wanted) / len(wanted) if wanted else float(bool(said))


def levenshtein(a: str, b: str) -> int:
    """The least number of characters to insert, delete or replace that turns one text into the other."""
    return Levenshtein.distance(a, b)


def similarity(a: str, b: str) -> float:
    """1 - edit distance / length of the longer text. Two empty texts are equal: 1.0."""
    longer = max(len(a), len(b))
    return 1.0 - levenshtein(a, b) / longer if longer else 1.0


def folded(text: str) -> str:
    """The text in lower case, with single blanks between its words."""
    return " ".join(text.lower().split())


def without_end_punctuation(text: str) -> str:
    """The text without punctuation and white space at its end, but for a percent sign: "12%." -> "12%"."""
    end = len(text)
    while end and text[end - 1] != "%" and (text[end - 1] in string.punctuation or text[end - 1].isspace()):
        end -= 1
    return text[:end]


def some(answers: Sequence[str]) -> Sequence[str]:
    """The accepted answers. Raises ValueError if there are none, or if they are one text, not a list."""
    if not answers or isinstance(answers, str):
        raise ValueError(f"scoring needs a list with at least one accepted answer, not {answers!r}")
    return answers


def _without_blanks(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")


# Letters of full width, and the ideographic blank, as those of ASCII.
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: ord(" ")}


def _narrow(text: str) -> str:
    return text.translate(_WIDE).lower().strip().replace("\n", " ")
