"""Formulas as OmniDocBench (523fd1d) compares them to pair them with others: without fonts and spaces."""

import re
from typing import Final

_BOXED: Final = re.compile(r"\\\[(.+?)(?<!\\)\\\]")
_DROPPED: Final = (
    r"\\tag\{.*?\}",
    r"\\hspace\{.*?\}",
    r"\\begin\{.*?\}",
    r"\\end\{.*?\}",
    r"\\arraycolsep.*?\}",
)
# In this order: "\text" leaves the end of "\textbf" behind where it comes first.
_COMMANDS: Final = (
    "mathbf mathrm mathnormal mathit mathbb mathcal mathscr mathfrak mathsf mathtt textbf text boldmath "
    "boldsymbol operatorname bm symbfit mathbfcal symbf scriptscriptstyle notag setlength coloneqq space "
    "thickspace thinspace medspace nobreakspace negmedspace quad qquad enspace substackw"
).split()
_LATER: Final = ("left", "right", "displaystyle")


def plain_formula(formula: str) -> str:
    """A formula in lower case without delimiters, environments, fonts and spaces."""
    text = formula.strip().strip("$").strip("\n")
    if match := _BOXED.search(text):
        text = match[1].strip()
    for pattern in _DROPPED:
        text = re.sub(pattern, "", text)
    text = text.strip(".")
    for command in _COMMANDS:
        text = text.replace(f"\\{command}", "")
    text = text.replace(" ", "").replace("$$", "")
    for command in (*_LATER, "text"):
        text = text.replace(f"\\{command}", "")
    return text.lower()
