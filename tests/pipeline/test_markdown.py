"""Pages become Markdown: what the model writes is what the table holds, through all that may go wrong."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model.engine.request import Branch, Group
from pipeline.parse.markdown import page_markdown
from tests.pipeline.drawn import image_bytes
from tests.pipeline.local import Killed, Machine
from tests.pipeline.plans import QUESTIONS, plan_for
from tests.pipeline.scripted import follow_script, prompt_of

TABLE = "| item | price |\n| --- | ---: |\n| tea | 1.50 |\n| scone | 2.25 |"
PAGES = [
    "# Invoice 7\n\nDear Ms Köhler,\n\nthank you.",
    f"## Prices\n\n{TABLE}",
    "- one\n- two\n  - nested\n\n1. first\n2. second",
    '<table><tr><td colspan="2">Total</td></tr><tr><td>net</td><td>3</td></tr></table>',
    "The area is $\\pi r^2$:\n\n$$\n\\int_0^1 x\\,dx = \\frac{1}{2}\n$$",
    "    indented code\n\nand `inline` code",
    "```python\nprint('a page that is one fence')\n```",
    "",
    "---\n\n> quoted “words” — naïve façade\n\n日本語の請求書",
    "Left column, to its end.\n\nRight column, to its end.\n\n[^1]: a footnote",
]
LOOP = "the same again, "


def height(number: int) -> int:
    """Pages are told from each other by their pixels, as a model does."""
    return 20 + number


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten documents: 0 to 8 are images, 9 is a TIFF of three pages, 9, 0 and 1."""
    folder = tmp_path / "in"
    folder.mkdir()
    images = [Image.new("RGB", (40, height(number)), (number, 0, 0)) for number in range(10)]
    for number in range(9):
        (folder / f"{number}.png").write_bytes(image_bytes(images[number], "PNG"))
    frames = [images[9], Image.new("RGB", (41, height(0))), Image.new("RGB", (41, height(1)))]
    (folder / "9.tiff").write_bytes(image_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    return folder


@pytest.fixture
def machine(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)


MARKDOWN: dict[str, Any] = {"questions": (), "targets": ("markdown",), "max_new_tokens": None}


def page_of(group: Group) -> int:
    return int(group.images[0].shape[0]) - 20


def known(group: Group, branch: Branch) -> str:
    """Of each page its Markdown, of which some come in a fence, or between blank lines."""
    number = page_of(group)
    text = PAGES[number]
    return f"```markdown\n{text}\n```" if number in (1, 4) else f"\n\n{text}\n" if number == 5 else text


def written(machine: Machine) -> dict[tuple[str, int], str]:
    rows = machine.rows("answers/markdown")
    assert {(row["question_id"], row["question"]) for row in rows} <= {("markdown", "markdown")}
    return {(Path(row["uri"]).name, row["page_first"]): row["answer"] for row in rows}


EXPECTED = {(f"{number}.png", 1): PAGES[number] for number in range(9)} | {
    ("9.tiff", page): PAGES[number] for page, number in ((1, 9), (2, 0), (3, 1))
}


def test_ten_documents_come_out_as_their_markdown(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_script(known, monkeypatch)
    record = machine.run(folder, **MARKDOWN)
    assert written(machine) == EXPECTED
    assert record["tables"]["answers"] == "answers/markdown"
    assert record["plan"]["asks"][0]["max_new_tokens"] == 4096
    assert (record["counts"]["answered"], record["counts"]["failed"]) == (12, 0)
    assert machine.run(folder, **MARKDOWN)["reused"]["items"] == 12


@pytest.mark.parametrize("batches", [1, 5, 11])
def test_a_cut_run_goes_on(
    machine: Machine, folder: Path, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_script(known, monkeypatch)
    with pytest.raises(Killed):
        machine.run(folder, kill_after=batches, **MARKDOWN)
    monkeypatch.setattr("pipeline.commit.lease.is_dead", lambda said: True)
    assert len(written(machine)) == batches
    machine.run(folder, **MARKDOWN)
    assert machine.asked == 12 - batches
    assert written(machine) == EXPECTED


def test_a_page_that_loops_is_read_again_and_one_that_goes_on_so_fails(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, float, int]] = []

    def loops(group: Group, branch: Branch) -> str:
        number = page_of(group)
        asked.append((number, branch.sampling.temperature, branch.sampling.seed))
        if number == 3 or (number == 2 and branch.sampling.temperature < 0.5):
            return LOOP * 500
        return known(group, branch)

    follow_script(loops, monkeypatch)
    machine.batch = 4
    record = machine.run(folder, **MARKDOWN)
    tried = [(number, temperature) for number, temperature, _ in asked if number in (2, 3)]
    assert sorted(tried) == [(2, 0.0), (2, 0.3), (2, 0.6), (3, 0.0), (3, 0.3), (3, 0.6), (3, 0.9)]
    assert len({seed for number, _, seed in asked}) == len(asked)
    assert written(machine) == {key: text for key, text in EXPECTED.items() if key != ("3.png", 1)}
    (failure,) = machine.rows("failures")
    assert (failure["stage"], failure["reason"], failure["target"]) == ("parse", "repetition", "markdown")
    assert failure["raw_text"].startswith(LOOP * 8)
    assert (record["counts"]["answered"], record["counts"]["failed"]) == (11, 1)
    notes = {Path(row["uri"]).name: row["note"] for row in machine.rows("answers/markdown") if row["note"]}
    assert notes == {"2.png": "asked again at temperature 0.6: it looped"}
    first = list(asked)
    asked.clear()
    machine.carry_out(machine.prepare(folder, frozenset({"repetition"}), **MARKDOWN))
    assert asked == [one for one in first if one[0] == 3], "the same draws again"
    follow_script(known, monkeypatch)
    machine.carry_out(machine.prepare(folder, frozenset({"repetition"}), **MARKDOWN))
    assert (machine.asked, written(machine), machine.rows("failures")) == (1, EXPECTED, [])


def test_a_page_beyond_the_limit_is_truncated_and_keeps_its_text(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_script(known, monkeypatch)
    limit = MARKDOWN | {"max_new_tokens": 30}
    record = machine.run(folder, **limit)
    failures = {Path(row["uri"]).name: row for row in machine.rows("failures")}
    assert failures
    for name, failure in failures.items():
        assert (failure["reason"], failure["stage"]) == ("truncated", "parse")
        assert failure["message"].startswith("30 tokens did not hold the whole (--max-new-tokens)")
        assert failure["raw_text"]
        assert failure["raw_text"].rstrip("\ufffd") in known_text(name)  # cut within a character
    assert record["counts"]["failed"] == len(machine.rows("failures"))
    machine.run(folder, **MARKDOWN)
    assert (written(machine), machine.rows("failures")) == (EXPECTED, [])


def known_text(name: str) -> str:
    number = int(name[0])
    return "".join(
        f"{PAGES[one]}\n```markdown\n{PAGES[one]}\n```" for one in ({9: (9, 0, 1)}.get(number, (number,)))
    )


def test_questions_beside_it_and_the_limits_of_each(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(group: Group, branch: Branch) -> str:
        prompt = prompt_of(group, branch)
        if "Markdown" not in prompt:
            return "42"
        assert "Leave out page headers" in prompt
        return known(group, branch)

    follow_script(answers, monkeypatch)
    record = machine.run(folder, **MARKDOWN | {"questions": QUESTIONS})
    assert written(machine) == EXPECTED
    assert [ask["max_new_tokens"] for ask in record["plan"]["asks"]] == [128, 4096]
    assert Counter(row["answer"] for row in machine.rows("answers/text")) == {"42": 24}


def test_headers_may_be_kept(machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow_script(lambda group, branch: prompt_of(group, branch), monkeypatch)
    machine.run(folder, **MARKDOWN)
    machine.run(folder, **MARKDOWN, keep_headers=True)
    assert machine.asked == 12
    assert all("Keep page headers" in text for text in written(machine).values())


def test_what_shapes_transcription_is_in_its_key_alone(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys(**changes: Any) -> list[str]:
        given = {"questions": QUESTIONS, "targets": ("markdown",)} | changes
        return [ask.settings_key for ask in plan_for(tiny_checkpoint, **given).asks]

    text, markdown = keys()
    for changes in ({"keep_headers": True}, {"seed": 3}):
        assert keys(**changes)[0] == text
        assert keys(**changes)[1] != markdown
    assert keys(style="free")[1] == keys(stop=("x",))[1] == markdown
    monkeypatch.setattr("pipeline.config.MARKDOWN_VERSION", -1)
    assert (keys()[0], keys()[1] == markdown) == (text, False)
    monkeypatch.undo()
    monkeypatch.setattr("pipeline.config.WORDING_VERSION", -1)
    assert (keys()[0] == text, keys()[1]) == (False, markdown)


def test_a_page_has_front_matter() -> None:
    row = {"uri": 's3://b/a "b": #1.pdf', "page_first": 3, "confidence": 0.51237, "answer": "# A\n\ntext"}
    assert page_markdown(row, "model/nano") == (
        '---\nuri: "s3://b/a \\"b\\": #1.pdf"\npage: 3\nconfidence: 0.5124\nmodel: "model/nano"\n---\n\n'
        "# A\n\ntext\n"
    )
