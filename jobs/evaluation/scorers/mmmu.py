"""MMMU's official accuracy (Yue et al. 2023, arXiv 2311.16502; eval/eval_utils.py of its repository).

In: a whole response. Out: 1.0 or 0.0. Of a multiple choice the parser always finds a letter: where the
response names none, it guesses, so the scores of a data set depend on the generator and on the order. The
official one is `random.Random(42)`, over the questions in their order. `relaxed.explicit_relaxed_accuracy` is
the measure that does not guess.
"""

import random
import re
from collections.abc import Iterator, Sequence

GUESSING_SEED = 42
_HINTS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS = (
    r"-?\b\d{1,3}(?:,\d{3})+\b",  # with commas
    r"-?\d+(?:\.\d+)?[eE][+-]?\d+",  # scientific
    r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",  # simple
)


def mmmu_choice(response: str, answers: Sequence[str], options: Sequence[str], guess: random.Random) -> float:
    """Accuracy of a multiple choice, whose answers are letters."""
    return float(choice_of(response, options, guess) in answers)


def mmmu_open(response: str, answers: Sequence[str]) -> float:
    """Accuracy of an open question: an accepted text stands in a key phrase, or a number is equal."""
    wanted = [value for answer in answers for value in _normalised(answer)]
    texts = [value for value in wanted if isinstance(value, str)]
    for said in _said(response):
        if any(text in said for text in texts) if isinstance(said, str) else said in wanted:
            return 1.0
    return 0.0


def choice_of(response: str, options: Sequence[str], guess: random.Random) -> str:
    """The letter that a response names last, in one of four ways; or a guess."""
    for char in ",.!?;:'":
        response = response.strip(char)
    response = f" {response} "
    letters = [chr(ord("A") + place) for place in range(len(options))]
    for form, place in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        found = [letter for letter in letters if form.format(letter) in response]
        if found:
            return max(found, key=lambda letter: response.rfind(place.format(letter)))
    if len(response.split()) > 5:
        low = response.lower()
        named = {letter: text.lower() for letter, text in zip(letters, options, strict=True)}
        found = [letter for letter, text in named.items() if text in low]
        if found:
            return max(found, key=lambda letter: low.rfind(named[letter]))
    return guess.choice(letters)


def _said(response: str) -> Iterator[str | float]:
    phrases = _key_phrases(response)
    for phrase in phrases:
        yield from _normalised(phrase)
        for pattern in _NUMBERS:
            for number in re.findall(pattern, phrase):
                yield from _normalised(number)


def _key_phrases(response: str) -> list[str]:
    """What follows the last hint of each line, the shortest; in the last line "=" is a hint, too."""
    response = response.strip().strip(".").lower()
    lines = response.split("\n")
    found = []
    for number, line in enumerate(lines, 1):
        hints = (*_HINTS, "=") if number == len(lines) else _HINTS
        shortest = ""
        for hint in hints:
            if hint in line:
                tail = line.split(hint)[-1].strip()
                if not shortest or len(tail) < len(shortest):
                    shortest = tail
        if shortest and shortest not in (":", ",", ".", "!", "?", ";", "'"):
            found.append(shortest)
    return found or [response]


def _normalised(text: str) -> list[str | float]:
    """A number with two decimals; or the text in lower case, a single character with a blank beside it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]
