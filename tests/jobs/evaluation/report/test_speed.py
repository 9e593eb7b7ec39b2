"""The report of 5,000 questions in a browser: how soon it is there, and how soon it answers."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from jobs.evaluation.report import html
from jobs.evaluation.report.items import Item

pytestmark = [pytest.mark.soak, pytest.mark.program("chromium")]
QUESTIONS = 5_000
PICTURE_BYTES = 25_000
PAINT = "performance.getEntriesByType('paint').find(one => one.name === 'first-contentful-paint').startTime"
SET = """([id, value]) => {
    const start = performance.now(), input = document.getElementById(id);
    input.value = value;
    input.dispatchEvent(new Event("input", {bubbles: true}));
    return performance.now() - start;
}"""


@pytest.mark.parametrize("pages", [1_250, 5_000])
def test_five_thousand_questions_are_there_in_less_than_a_second(tmp_path: Path, pages: int) -> None:
    items = [
        Item(
            id=str(n), document=f"d{n % pages}.pdf", page=1, question=f"What is the total of invoice {n}?",
            answer=f"{n}.50 EUR", accepted=(f"{n}.50",), confidence=n % 97 / 97, score=float(n % 3 > 0),
            scores={"anls": 1.0}, pictures=(f"p{n % pages}",),
        )
        for n in range(QUESTIONS)
    ]  # fmt: skip
    pictures = ((f"p{n}", os.urandom(PICTURE_BYTES)) for n in range(pages))
    html.write(str(tmp_path), "report.html", title="5,000", summary=None, items=items, pictures=pictures)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.goto((tmp_path / "report.html").as_uri())
        paint = page.evaluate(PAINT)
        text = page.evaluate(SET, ["text", "invoice 4321"])
        assert page.locator("#count").inner_text() == "1 of 5,000"
        page.evaluate(SET, ["text", ""])
        order = page.evaluate(SET, ["order", "sure"])
        browser.close()
    size = sum(one.stat().st_size for one in tmp_path.iterdir()) / 1e6
    print(f"{pages:,} pages: {size:.1f} MB, painted {paint:.0f} ms, filtered {text:.0f}, ordered {order:.0f}")
    assert paint < 1_000
    assert max(text, order) < 500
