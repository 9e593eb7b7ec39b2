"""OmniDocBench's scores of single blocks (Ouyang et al. 2024, arXiv 2412.07626): texts and tables.

In: what a model wrote of a block that was cut out of its page, and the annotation. Out: a score from 0.0 to
1.0, as by the component-level tasks of its repository (523fd1d, version 1.5): an edit distance is taken from
1. Texts are compared by letters and digits alone, with inline formulas as Unicode; tables by what is left of
their HTML without headers, styles and small marks.
"""

import logging
import re
from typing import Final

from jobs.evaluation.scorers.extras import need
from jobs.evaluation.scorers.omnidocbench_tables import table_of
from jobs.evaluation.scorers.teds import similar_trees
from jobs.evaluation.scorers.texts import similarity

_INLINE: Final = re.compile(r"\$(.*?)\$|\\\((.*?)\\\)")
_ESCAPED: Final = re.compile(r"\\([\\_&%^])")
_BLANKS: Final = ("\\t", "\\n", "\t", "\n", "/t", "/n")  # the first two and the last two as they are written


def text_similarity(prediction: str, answer: str) -> float:
    """1 - edit distance / length of the longer text, both `plain`, or as they are where nothing is left."""
    return similarity(plain(prediction) or prediction, plain(answer) or answer)


def plain(text: str) -> str:
    """A text without anything but letters and digits; its inline formulas as Unicode."""
    for match in reversed(list(_INLINE.finditer(text))):
        formula = _ESCAPED.sub("", match[1] if match[1] is not None else match[2])
        if any(char in formula for char in "\\^_"):
            said = unicode_of(f"{formula} " if formula.endswith("\\") else formula)
            if said is not None:
                text = text[: match.start()] + said.strip() + text[match.end() :]
    for blank in _BLANKS:
        text = text.replace(blank, "")
    return re.sub(r"[^\w\u4e00-\u9fff]", "", text)


def unicode_of(formula: str) -> str | None:
    """A formula's Unicode; None where it cannot be read."""
    latex2text, latexwalker = need("pylatexenc.latex2text"), need("pylatexenc.latexwalker")
    logging.getLogger("pylatexenc").setLevel(logging.ERROR)  # it warns of each formula that is not whole
    try:
        return str(latex2text.LatexNodes2Text().latex_to_text(formula))
    except (latexwalker.LatexWalkerError, LookupError, TypeError, ValueError, RecursionError):
        return None


def table_similarity(prediction: str, answer: str) -> float:
    """TEDS of two tables in HTML. Raises ValueError if the right answer holds none."""
    wanted = table_of(answer)
    if wanted is None:
        raise ValueError(f"the right answer holds no table in HTML: {answer[:80]!r}")
    return similar_trees(table_of(prediction), wanted)
