"""Answers to mathematical problems: equal as mathematics, by math-verify (of the [evaluate] extra)."""

from collections.abc import Sequence

from jobs.evaluation.scorers.extras import need
from jobs.evaluation.scorers.texts import some

SECONDS = 5  # for one answer to be read, and to be compared; by SIGALRM, so in the main thread alone


def math_equal(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the last formula, or what is boxed, is equal to an accepted answer: 1/2, 0.5 and \\frac12 are.

    MATH's own scorer (Hendrycks et al. 2021) compares normalised texts; its figures are somewhat lower.
    """
    verify = need("math_verify")
    said = verify.parse(prediction, parsing_timeout=SECONDS)
    wanted = (verify.parse(f"${answer}$", parsing_timeout=SECONDS) for answer in some(answers))
    return float(any(verify.verify(one, said, timeout_seconds=SECONDS) for one in wanted))
