"""Charts: what is asked of them is true of their figures, and answered in the style of the benchmarks."""

import random
import re

import pytest

from jobs.nano.synthetic import chart_data
from jobs.nano.synthetic.asking import task
from jobs.nano.synthetic.chart_questions import _Asking, plain
from jobs.nano.synthetic.charts import draw_card, draw_chart, draw_survey
from jobs.nano.synthetic.layout import Exchange, Page, Source, look
from jobs.nano.synthetic.scenes import Scene, draw

KINDS = ("chart", "card", "survey")


def drawn(kind: str, count: int) -> list[Page]:
    random.seed(f"charts {kind}")
    return [draw(Scene(pixels=None, mix={kind: 1}, max_side=256)).page for _ in range(count)]


@pytest.mark.parametrize(
    ("shown", "answer"), [("14 195 100", "14195100"), ("29.4%", "29.4%"), ("$1,340", "$1,340"), ("0", "0")]
)
def test_thousands_apart_are_answered_together(shown: str, answer: str) -> None:
    assert chart_data.said(shown) == answer


@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_charts_have_no_spaces_in_their_numbers(kind: str) -> None:
    asked = [one for page in drawn(kind, 15) for one in page.exchanges]
    assert len(asked) > 60
    assert not [one for one in asked if re.fullmatch(r"\$?\d+ [\d ]+\d.*", one.answer)]


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_found_by_their_category_and_legend(kind: str) -> None:
    """The glyphs that a value is linked to are those of names that stand on the page."""
    linked = [(page, at, cues) for page in drawn(kind, 25) for at, cues in page.links]
    assert len(linked) > 40
    assert any(len(cues) > 1 and None not in cues for _, _, cues in linked)
    for page, at, cues in linked:
        assert page.sheet.glyphs[at].character in "0123456789$-."
        assert all(cue is None or cue < len(page.sheet.glyphs) for cue in cues)


def test_an_estimate_is_within_a_twentieth_of_a_step() -> None:
    random.seed(3)
    style = look(Source(), 9.0, 12.0, {"sans": 1})
    for _ in range(50):
        data = chart_data.data("bars", most=12, plain_spaces=True)
        data.step = random.choice([0.5, 2.5, 20.0, 500.0, 250_000.0])
        asking = _Asking(Page("chart", 400, 300, style, Source()), data)
        answer = asking.estimated(0, 0)
        value = float(answer.strip("$%Mk"))
        assert abs(value - data.figures[0][0]) <= 0.0501 * data.step, (answer, data.figures[0][0])


def test_times_are_named_in_full() -> None:
    random.seed(4)
    found = [chart_data._times(4) for _ in range(200)]
    for key, shown, asked in found:
        assert key in chart_data.TIMES
        assert len(shown) == len(asked) == len(set(asked)) == 4
        assert not any("'" in name for name in asked)
    assert any("'" in name for _, shown, _ in found for name in shown)


def test_parts_of_a_whole_make_a_hundred() -> None:
    random.seed(5)
    for _ in range(30):
        (row,) = chart_data.data("pie", most=6, plain_spaces=False).figures
        assert sum(row) == pytest.approx(100, abs=len(row))


def test_colors_are_asked_for_by_name() -> None:
    asks = [ask for kind in KINDS for page in drawn(kind, 25) for ask in page.asks]
    named = [answer for question, answer, *_ in asks if re.search(r"[Ww]h(at|ich) color ", question)]
    known = {color.capitalize() for color in chart_data.COLORS}
    assert named
    assert set(named) - known <= {answer for answer in named if answer.isdigit()}  # how many there are


def test_what_is_computed_is_counted_apart() -> None:
    assert task("card", Exchange("What is the sum?", "7")) == "card, derived"
    assert task("card", Exchange("What is it?", "7", 3)) == "card"
    assert task("form", Exchange("What is it?", "7")) == "form"
    assert plain(3.10) == "3.1"


@pytest.mark.parametrize("draws", [draw_card, draw_survey, draw_chart])
def test_a_chart_without_room_is_refused(draws: object) -> None:
    random.seed(6)
    style = look(Source(), 20.0, 20.0, {"sans": 1})
    assert callable(draws)
    assert not any(draws(Page("chart", 90, 60, style, Source())) for _ in range(5))
