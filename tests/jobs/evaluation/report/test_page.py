"""The report in a browser: filters, keys, marks, pictures; hostile text does nothing, nothing is fetched."""

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from jobs.evaluation.gold import load_expected
from jobs.evaluation.report import html
from jobs.evaluation.report.items import Item

pytestmark = [pytest.mark.processes, pytest.mark.program("chromium")]

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "<!-- <script> \u2028 {{ 7 * 7 }} {% raw %}",
    "'\"><svg onload=window.hacked=3>",
    "https://example.org/a.png ]]> &lt;b&gt; javascript:window.hacked=4",
)


def webp(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(out, "WEBP")
    return out.getvalue()


LEAVE = "dispatchEvent(new Event('beforeunload', {cancelable: true}))"  # false: somebody would be asked
BOX = {"x0": 0.1, "y0": 0.2, "x1": 0.5, "y1": 0.3}
ITEMS = (
    Item(
        id="1", document="a.pdf", page=1, question="What is the total?", answer="12", accepted=("12",),
        confidence=0.9, score=1.0, scores={"anls": 1.0}, pictures=("a.pdf#1",), slices={"kind": "x"},
        fields=({"path": "total", "value": "12", "confidence": 0.9, "box": BOX},),
    ),
    Item(
        id="2", document="b.pdf", question="Which date?", answer="May", accepted=("June",), confidence=0.95,
        score=0.0,
    ),
    Item(
        id="3", document="b.pdf", question="Who?", answer=None, reason="timeout", message="it took too long",
        score=0.0, accepted=("Ann",), pictures=("gone#1",),
    ),
    *(
        Item(
            id=f"h{number}", document=text, question=text, answer=text, accepted=(text,), confidence=0.1,
            score=0.4, message=text, slices={text: text}, scores={text: 0.4},
        )
        for number, text in enumerate(HOSTILE)
    ),
)  # fmt: skip
SUMMARY: dict[str, Any] = {
    "measures": {"anls": {"mean": 0.4, "low": 0.3, "high": 0.5, "n": 8}},
    "data": {"note": HOSTILE[0]},
    "slices": [{"name": HOSTILE[1], "value": HOSTILE[2], "mean": 0.4, "low": 0.3, "high": 0.5, "n": 8}],
    "calibration": {
        "reliability": [
            {"low": 0.1, "high": 0.2, "count": 5, "confidence": 0.1, "right": 0.0},
            {"low": 0.9, "high": 1.0, "count": 2, "confidence": 0.93, "right": 0.5},
        ],
        "error": 0.5, "error_after_review": 0.4, "reviewed": 0.1, "expected_error": 0.2,
        "thresholds": [{"precision": 0.9, "confidence": None, "share": 0.0}], "temperature": None,
    },
}  # fmt: skip


@dataclass
class Seen:
    """What a page asked for and said, beside what it shows."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def seen(browser: Browser) -> Iterator[Seen]:
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    found = Seen(page)
    page.on("request", lambda request: found.requests.append(request.url))
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("console", lambda message: found.errors.append(message.text))
    page.on("dialog", lambda dialog: found.errors.append(dialog.message))
    yield found
    page.close()
    assert found.errors == []


def write(folder: Path, items: tuple[Item, ...] = ITEMS, summary: dict[str, Any] | None = SUMMARY) -> str:
    pictures: list[tuple[str, bytes | str]] = [
        ("a.pdf#1", webp(60, 90)),
        ("gone#1", "gone.pdf is no longer there"),
    ]
    html.write(
        str(folder), "report.html", title=HOSTILE[0], summary=summary, items=items, pictures=pictures,
        about=[(HOSTILE[1], HOSTILE[2])],
    )  # fmt: skip
    return (folder / "report.html").as_uri()


def questions(page: Page) -> list[str]:
    return page.locator("#list .q").all_inner_texts()


def test_hostile_text_is_shown_and_does_nothing(seen: Seen, tmp_path: Path) -> None:
    address = write(tmp_path)
    seen.page.goto(address)
    for _ in ITEMS:
        seen.page.keyboard.press("j")
    assert seen.page.evaluate("window.hacked") is None
    assert seen.page.title() == HOSTILE[0]
    assert seen.page.locator("#list .q").nth(4).text_content() == HOSTILE[1]
    assert seen.page.locator("#detail h3").text_content() == HOSTILE[4]
    assert "{{ 7 * 7 }}" in seen.page.locator("dd").first.inner_text()
    assert [one for one in seen.requests if not one.startswith("data:")] == [address]


def test_filters_and_orders(seen: Seen, tmp_path: Path) -> None:
    page = seen.page
    page.goto(write(tmp_path))
    assert page.locator("#count").inner_text() == "8 of 8"
    page.fill("#text", "DATE")
    assert questions(page) == ["Which date?"]
    page.fill("#text", "timeout")
    assert questions(page) == ["Who?"]
    page.fill("#text", "")
    for which, found in {
        "right": ["What is the total?"],
        "sure": ["Which date?"],
        "failed": ["Who?"],
    }.items():
        page.select_option("#show", which)
        assert questions(page) == found
    page.select_option("#show", "all")
    page.select_option("#document", "b.pdf")
    assert questions(page) == ["Which date?", "Who?"]
    page.select_option("#document", "")
    page.fill("#low", "0.5")
    assert questions(page) == ["What is the total?", "Which date?"]
    page.fill("#low", "0.99")
    assert page.locator("#detail").inner_text() == "Nothing fits these filters."
    page.fill("#low", "0")
    page.select_option("#order", "sure")
    assert questions(page)[0] == "Which date?"
    page.select_option("#order", "unsure")
    assert questions(page)[0] == "Who?"


def test_the_page_stands_beside_its_answer(seen: Seen, tmp_path: Path) -> None:
    page = seen.page
    page.goto(write(tmp_path))
    image = page.locator("#detail img")
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [60, 90]
    box, whole = page.locator(".box").bounding_box(), image.bounding_box()
    assert box is not None
    assert whole is not None
    assert box["x"] - whole["x"] == pytest.approx(0.1 * whole["width"], abs=3)
    assert box["width"] == pytest.approx(0.4 * whole["width"], abs=3)
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert "gone#1 could not be drawn" in page.locator("#detail").inner_text()
    page.locator("summary", has_text="could not be drawn").click()
    assert "gone.pdf is no longer there" in page.locator("section.figures").inner_text()
    assert page.locator("figure svg").count() == 2
    assert "it took too long" in page.locator("#detail").inner_text()


def test_what_a_reviewer_marks_is_exported_as_labels(seen: Seen, tmp_path: Path) -> None:
    page = seen.page
    page.goto(write(tmp_path))
    assert page.locator("#export").is_disabled()
    assert page.evaluate(LEAVE) is True
    page.keyboard.press("r")
    page.keyboard.press("j")
    page.keyboard.press("w")
    page.fill(".marks input", "July")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("w")
    assert page.locator("#export").inner_text() == "Export 3 marks"
    page.keyboard.press("u")
    assert page.locator("#export").inner_text() == "Export 2 marks"
    assert page.evaluate(LEAVE) is False  # the browser asks
    page.select_option("#show", "marked")
    assert questions(page) == ["What is the total?", "Which date?"]
    with page.expect_download() as started:
        page.click("#export")
    started.value.save_as(tmp_path / "review.jsonl")
    assert page.evaluate(LEAVE) is True
    rows = [json.loads(line) for line in (tmp_path / "review.jsonl").read_text().splitlines()]
    assert [(row["answers"], row["verdict"], row["said"]) for row in rows] == [
        (["12"], "right", "12"),
        (["July"], "wrong", "May"),
    ]
    labels = load_expected(tmp_path / "review.jsonl")
    assert [(one.document, one.page, one.question) for one in labels] == [
        ("a.pdf", 1, "What is the total?"),
        ("b.pdf", None, "Which date?"),
    ]


def test_many_pictures_lie_in_scripts_beside_it(
    seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "MAX_INLINE", 0)
    seen.page.goto(write(tmp_path))
    assert (tmp_path / "report-pictures-1.js").is_file()
    assert seen.page.locator("#detail img").evaluate("image => image.naturalWidth") == 60
    assert all(one.startswith(("file:", "data:")) for one in seen.requests)


def test_thousands_of_answers_are_listed_some_at_a_time(seen: Seen, tmp_path: Path) -> None:
    many = tuple(
        Item(id=str(n), document="a", question=f"Q{n}", answer="x", score=n % 2) for n in range(1_000)
    )
    page = seen.page
    page.goto(write(tmp_path, many, None))
    assert page.locator("#list li").count() == 201
    page.locator("#list .more").click()
    assert page.locator("#list li").count() == 401
    assert page.locator("#count").inner_text() == "1,000 of 1,000"
    page.select_option("#order", "worst")
    assert questions(page)[:2] == ["Q0", "Q2"]


def test_two_runs_stand_side_by_side(seen: Seen, tmp_path: Path) -> None:
    both = tuple(
        Item(
            id=str(n), document="a", question=f"Q{n}", answer="new", score=1.0, other="old", other_score=n / 2
        )
        for n in range(3)
    )
    page = seen.page
    page.goto(write(tmp_path, both, None))
    page.select_option("#show", "changed")
    assert questions(page) == ["Q0", "Q1"]
    assert "old" in page.locator("#detail").inner_text()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert (
            page.evaluate("getComputedStyle(document.body).backgroundColor")
            == {
                "light": "rgb(245, 246, 248)",
                "dark": "rgb(18, 21, 25)",
            }[scheme]
        )
