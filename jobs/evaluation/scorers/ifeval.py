"""IF-Eval: whether a response follows instructions that can be checked (Zhou et al. 2023, arXiv 2311.07911).

In: a response, and instructions as google/IFEval has them: ids, and a dict of arguments each. Out: which are
followed, strictly, or loosely: then eight versions of the response count, without its first line, its last
line and asterisks. Two kinds need models of nltk in the original, and are counted by a rule here: sentences,
and words in capitals.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from jobs.evaluation.scorers.extras import need

Arguments = Mapping[str, Any]
_CHOICES: Final = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_LESS: Final = "less than"


def followed(
    response: str, ids: Sequence[str], arguments: Sequence[Arguments], *, loose: bool = False
) -> list[bool]:
    """For each instruction whether it is followed. Raises ValueError for an unknown one."""
    versions = list(_versions(response)) if loose else [response]
    return [
        any(version.strip() and _check(id)(version, given) for version in versions)
        for id, given in zip(ids, arguments, strict=True)
    ]


def _check(id: str) -> Callable[[str, Arguments], bool]:
    if id not in _CHECKS:
        raise ValueError(f"the instruction {id!r} is not one of IF-Eval's: {', '.join(_CHECKS)}")
    return _CHECKS[id]


def _versions(response: str) -> Iterator[str]:
    lines = response.split("\n")
    for some in (lines, lines[1:], lines[:-1], lines[1:-1]):
        text = response if some is lines else "\n".join(some).strip()
        yield text
        yield text.replace("*", "")


def _related(count: int, relation: str, wanted: int) -> bool:
    return (count < wanted) if relation == _LESS else (count >= wanted)


def _language(text: str) -> str | None:
    """None where none can be told: then the instruction counts as followed."""
    langdetect = need("langdetect")
    langdetect.DetectorFactory.seed = 0
    try:
        return str(langdetect.detect(text))
    except langdetect.LangDetectException:
        return None


def _paragraphs(text: str, given: Arguments) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", text)
    if any(not part.strip() for part in parts[1:-1]):
        return False
    empty = sum(not parts[place].strip() for place in {0, len(parts) - 1})
    return bool(len(parts) - empty == given["num_paragraphs"])


def _first_word(text: str, given: Arguments) -> bool:
    parts = text.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    nth = given["nth_paragraph"]
    if nth > count or not parts[nth - 1].strip():
        return False
    word = parts[nth - 1].split()[0].lstrip("'").lstrip('"')
    first = re.split(r"[.,?!'\"]", word)[0].lower()
    return bool(count == given["num_paragraphs"] and first == given["first_word"].lower())


def _postscript(text: str, given: Arguments) -> bool:
    marker = given["postscript_marker"]
    pattern = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}.get(
        marker, rf"\s*{marker.lower()}.*$"
    )
    return re.search(pattern, text.lower(), re.MULTILINE) is not None


def _highlights(text: str, given: Arguments) -> bool:
    single = sum(bool(one.strip("*").strip()) for one in re.findall(r"\*[^\n*]*\*", text))
    double = sum(
        bool(one.removeprefix("**").removesuffix("**").strip())
        for one in re.findall(r"\*\*[^\n*]*\*\*", text)
    )
    return bool(single + double >= given["num_highlights"])


def _json(text: str, given: Arguments) -> bool:
    text = text.strip()
    for start in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(start)
    try:
        json.loads(text.removesuffix("```").strip())
    except ValueError:
        return False
    return True


def _two(text: str, given: Arguments) -> bool:
    parts = text.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    there = [part.strip() for part in parts if part.strip()]
    return len(there) == 2 and there[0] != there[1]


def _sentences(text: str, given: Arguments) -> bool:
    count = len([one for one in re.split(r"(?<=[.!?])[\"')\]]*\s+(?=\S)", text.strip()) if one.strip()])
    return _related(count, given["relation"], given["num_sentences"])


def _capitals(text: str, given: Arguments) -> bool:
    count = sum(word.isupper() for word in re.findall(r"\w+(?:[-']\w+)*", text))
    return _related(count, given["capital_relation"], given["capital_frequency"])


def _bullets(text: str, given: Arguments) -> bool:
    patterns = (r"^\s*\*[^*].*$", r"^\s*-.*$")
    count = sum(len(re.findall(pattern, text, re.MULTILINE)) for pattern in patterns)
    return bool(count == given["num_bullets"])


def _frequency(text: str, given: Arguments) -> bool:
    count = len(re.findall(given["keyword"], text, re.IGNORECASE))
    return _related(count, given["relation"], given["frequency"])


def _letters(text: str, given: Arguments) -> bool:
    count = text.lower().count(given["letter"].lower())
    return _related(count, given["let_relation"], given["let_frequency"])


def _words(text: str, given: Arguments) -> bool:
    return _related(len(re.findall(r"\w+", text)), given["relation"], given["num_words"])


def _sections(text: str, given: Arguments) -> bool:
    parts = re.split(rf"\s?{given['section_spliter'].strip()}\s?\d+\s?", text)
    return bool(len(parts) - 1 >= given["num_sections"])


_CHECKS: Final[Mapping[str, Callable[[str, Arguments], bool]]] = {
    "keywords:existence": lambda text, given: all(
        re.search(word, text, re.IGNORECASE) for word in given["keywords"]
    ),
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": lambda text, given: (
        not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in given["forbidden_words"])
    ),
    "keywords:letter_frequency": _letters,
    "language:response_language": lambda text, given: _language(text) in (None, given["language"]),
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda text, given: (
        len(re.findall(r"\[.*?\]", text)) >= given["num_placeholders"]
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda text, given: any(one in text for one in _CHOICES),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": lambda text, given: any(
        one.lstrip("<").rstrip(">").strip() for one in re.findall(r"<<[^\n]+>>", text)
    ),
    "combination:two_responses": _two,
    "combination:repeat_prompt": lambda text, given: (
        text.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())
    ),
    "startend:end_checker": lambda text, given: (
        text.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())
    ),
    "startend:quotation": lambda text, given: (
        len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"'
    ),
    "change_case:capital_word_frequency": _capitals,
    "change_case:english_capital": lambda text, given: text.isupper() and _language(text) in (None, "en"),
    "change_case:english_lowercase": lambda text, given: text.islower() and _language(text) in (None, "en"),
    "punctuation:no_comma": lambda text, given: "," not in text,
}
