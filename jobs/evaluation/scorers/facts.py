"""olmOCR-Bench's facts: what must, or must not, stand in a page's Markdown (arXiv 2502.18443).

In: a fact as the benchmark's JSON lines have it, and a transcription. Out: whether it holds. Kinds: present,
absent, order, table, format, footnote, baseline, math. A formula must be the same text but for blanks: theirs
draws both with KaTeX in a browser, so a figure with formulas in it is not comparable, and lower.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rapidfuzz import fuzz

from jobs.evaluation.scorers.grids import Cell, grids

Fact = Mapping[str, Any]
_PLAIN = str.maketrans(
    {"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "＿": "_"}
    | dict.fromkeys("–—‑‒−", "-")
    | {"µ": "μ"}
)
_FORMATS = {
    "heading": (r"^#{1,6}\s+(.+?)$", r"<h[1-6][^>]*>(.*?)</h[1-6]>"),
    "bold": (r"\*\*(.*?)\*\*", r"__(.*?)__", r"<b[^>]*>(.*?)</b>", r"<strong[^>]*>(.*?)</strong>"),
    "italic": (
        r"(?<!\*)\*(?!\*)(.*?)(?<!\*)\*(?!\*)",
        r"(?<!_)_(?!_)(.*?)(?<!_)_(?!_)",
        r"<i[^>]*>(.*?)</i>",
        r"<em[^>]*>(.*?)</em>",
    ),
}
_FORMULAS = (r"\\\((.+?)\\\)", r"\\\[(.+?)\\\]", r"\$\$(.+?)\$\$", r"\$(.+?)\$")
_FOREIGN = re.compile(
    "[\u4e00-\u9fff\u3040-\u30ff\U0001f600-\U0001f64f\U0001f300-\U0001f5ff\U0001f680-\U0001f6ff\U0001f1e0-\U0001f1ff]"
)
MOST_REPEATS = 30  # of a phrase at the end of a page


def holds(fact: Fact, text: str) -> bool:
    """Whether the fact holds of a page's Markdown. Raises ValueError for an unknown kind of fact."""
    check = _CHECKS.get(fact["type"])
    if check is None:
        raise ValueError(f"a fact of the type {fact['type']!r}; known are {', '.join(_CHECKS)}")
    return check(fact, text)


def plain(text: str) -> str:
    """Markdown without emphasis and line breaks, quotes and dashes as in ASCII."""
    text = re.sub(r"<br/?>", " ", text)
    text = re.sub(r"\*\*(.*?)\*\*", r"\1", text)
    text = re.sub(r"__(.*?)__", r"\1", text)
    text = re.sub(r"</?[bi]>", "", text)
    text = re.sub(r"(\*|_)(.*?)\1", r"\2", text)
    return unicodedata.normalize("NFC", re.sub(r"\s+", " ", text)).translate(_PLAIN)


def _least(wanted: str, fact: Fact) -> float:
    """The least share of equal characters that so many differences leave."""
    return 1.0 - float(fact.get("max_diffs") or 0) / max(1, len(wanted))


def _cased(fact: Fact, *texts: str) -> tuple[str, ...]:
    return texts if fact.get("case_sensitive", True) else tuple(text.lower() for text in texts)


def _present(fact: Fact, text: str) -> bool:
    wanted, text = _cased(fact, plain(fact["text"]), plain(text))
    first, last = fact.get("first_n") or 0, fact.get("last_n") or 0
    if first or last:
        text = text[:first] + (text[-last:] if last else "")
    return fuzz.partial_ratio(wanted, text) / 100 >= _least(wanted, fact)


def _absent(fact: Fact, text: str) -> bool:
    return not _present(fact, text)


def _order(fact: Fact, text: str) -> bool:
    text = plain(text)
    most = fact.get("max_diffs", 0)
    first = near_starts(plain(fact["before"]), text, most)
    last = near_starts(plain(fact["after"]), text, most)
    return bool(first and last) and min(first) < max(last)


def near_starts(wanted: str, text: str, most: int) -> list[int]:
    """Where pieces of a text begin that are at most so many edits away from what is wanted."""
    if most == 0:
        return [found.start() for found in re.finditer(f"(?={re.escape(wanted)})", text)]
    # Sellers' algorithm, backwards, so that the ends that it finds are beginnings.
    letters = np.array([ord(char) for char in reversed(text)], dtype=np.int32)
    steps = np.arange(len(text) + 1)
    edits = np.zeros(len(text) + 1, dtype=np.int64)
    for row, char in enumerate(reversed(wanted), 1):
        below = np.minimum(edits[:-1] + (letters != ord(char)), edits[1:] + 1)
        edits = np.concatenate([[row], below])
        edits = np.minimum.accumulate(edits - steps) + steps
    return [len(text) - int(end) for end in np.flatnonzero(edits <= most)]


def _format(fact: Fact, text: str) -> bool:
    found: list[str] = []
    for pattern in _FORMATS[fact["format"]]:
        multiline = re.MULTILINE if pattern.startswith("^") else re.DOTALL
        found += re.findall(pattern, text, multiline | (re.IGNORECASE if "<" in pattern[:1] else 0))
    wanted, *texts = _cased(fact, plain(fact["text"]), *map(plain, found))
    return any(fuzz.partial_ratio(wanted, one) / 100 >= _least(wanted, fact) for one in texts)


def _table(fact: Fact, text: str) -> bool:
    names = ("up", "down", "left", "right", "top_heading", "left_heading")
    wanted = {name: plain(fact[name]) for name in names if fact.get(name)}
    cell = plain(fact["cell"])

    def near(said: str, one: str) -> bool:
        return fuzz.ratio(one, plain(said)) / 100 >= max(0.5, _least(one, fact))

    def stands(table: list[Cell], at: Cell) -> bool:
        return all(any(near(other.text, one) for other in at.beside(name)) for name, one in wanted.items())

    markdown = not fact.get("ignore_markdown_tables", False)
    return any(
        near(at.text, cell) and stands(table, at) for table in grids(text, markdown=markdown) for at in table
    )


def _baseline(fact: Fact, text: str) -> bool:
    counted = re.sub(r"!\[.*?\]\(.*?\)", "", text) if fact.get("max_length_skips_image_alt_tags") else text
    letters = sum(char.isalnum() for char in counted)
    if fact.get("max_length") is not None:
        return bool(letters <= fact["max_length"])
    foreign = fact.get("check_disallowed_characters", True) and _FOREIGN.search(text) is not None
    return letters > 0 and not foreign and _repeats(text) <= fact.get("max_repeats", MOST_REPEATS)


def _repeats(text: str) -> int:
    """How often the last one to five characters stand at the end, one after the other."""
    most = 0
    for size in range(1, 6):
        end, times = text[-size:], 0
        while len(end) == size and text.endswith(end * (times + 1)):
            times += 1
        most = max(most, times)
    return most


def _footnote(fact: Fact, text: str) -> bool:
    marker = re.escape(fact["marker"])
    raised = fact["marker"].translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    patterns = [rf"\[\^{marker}\](?!:)", rf"(?i:<sup[^>]*>{marker}</sup>)"]
    patterns += [re.escape(raised)] if fact["marker"].isdecimal() else []
    places = [found.span() for pattern in patterns for found in re.finditer(pattern, text)]
    before, after = fact.get("appears_before_marker"), fact.get("appears_after_marker")
    return (
        bool(places)
        and (not before or any(_at_edge(before, text[max(0, a - 200) : a], True, fact) for a, _ in places))
        and (not after or any(_at_edge(after, text[b : b + 200], False, fact) for _, b in places))
    )


def _at_edge(wanted: str, text: str, at_end: bool, fact: Fact) -> bool:
    bare, there = _letters(wanted), _letters(text)
    there = there[-2 * len(bare) :] if at_end else there[: 2 * len(bare)]
    return bool(there) and fuzz.partial_ratio(bare, there) / 100 >= _least(plain(wanted), fact)


def _letters(text: str) -> str:
    return "".join(char for char in plain(text) if char.isalnum()).lower()


def _math(fact: Fact, text: str) -> bool:
    wanted = "".join(fact["math"].split())
    for pattern in _FORMULAS:
        if any("".join(found.split()) == wanted for found in re.findall(pattern, text, re.DOTALL)):
            return True
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    return False


_CHECKS: Mapping[str, Callable[[Fact, str], bool]] = {
    "present": _present,
    "absent": _absent,
    "order": _order,
    "format": _format,
    "table": _table,
    "baseline": _baseline,
    "footnote": _footnote,
    "math": _math,
}
