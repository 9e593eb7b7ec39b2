"""Each benchmark as it is published becomes the questions of its harness; a broken one is a sentence."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.evaluation import loading
from jobs.evaluation.asked import Asked, Picture
from jobs.evaluation.datasets.finding import FAMILIES, find
from jobs.evaluation.measures import score_all, weight
from tests.hub import COMMIT, Repository, served
from tests.jobs.evaluation import kept, published
from tests.pipeline.drawn import pdf_bytes

ROOT = Path(__file__).parents[3]


def asked(place: Path | str, limit: int | None = None) -> list[Asked]:
    found = find(str(place))
    return list(loading.questions(found, style="short", measures=("anls",), limit=limit, judged=True))


def parts(one: Asked) -> list[str | list[int]]:
    """The only message of a question; an image is its size."""
    (turn,) = one.turns
    return [
        part if isinstance(part, str) else list(Image.open(io.BytesIO(part.data or b"")).size)
        for part in turn.parts
    ]


@pytest.mark.parametrize("name", ["docvqa", "chartqa", "vqav2", "mmmu", "mathvista"])
def test_prompts_and_answers_are_those_of_mistral_evals(tmp_path: Path, name: str) -> None:
    found = find(str(published.save(tmp_path, name)))
    assert found.family is not None
    wanted = [row for row in kept.load("mistral_prompts") if row["benchmark"] == name]
    given = asked(tmp_path)
    assert len(given) == len(wanted) > 0
    named = {
        "explicit_prompt_relaxed_correctness": "explicit_relaxed_accuracy",
        "anywhere_in_answer_relaxed_correctness": "anywhere_relaxed_accuracy",
        "anls": "anls_0",
        "vqa_match": "vqa_match",
    }
    for one, row in zip(given, wanted, strict=True):
        assert parts(one) == row["parts"]
        assert list(one.answers) == row["answers"]
        assert list(one.measures[: len(row["metrics"])]) == [named[metric] for metric in row["metrics"]]
        assert found.family.max_new_tokens == row["max_tokens"]


@pytest.mark.parametrize("name", published.ROWS)
def test_a_published_file_is_known_by_its_columns(tmp_path: Path, name: str) -> None:
    folder = published.save(tmp_path, name)
    for place in (folder, folder / published.FILES[name]):
        found = find(str(place))
        assert found.family is not None
        assert found.name == name
        questions = asked(place)
        assert len(questions) >= len(published.ROWS[name])
        assert len({one.id for one in questions}) == len(questions)
        assert loading.note(found, len(questions)) is not None  # it is a part of the split
        assert loading.note(found, found.family.rows, found.family.judge) == found.family.note
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_slices_and_facts_of_some(tmp_path: Path) -> None:
    human, augmented = asked(published.save(tmp_path / "a", "chartqa"))
    assert (human.slices, augmented.slices) == ({"type": "human"}, {"type": "augmented"})
    choice, free = asked(published.save(tmp_path / "b", "mmmu"))
    assert (choice.facts, free.facts) == ({"options": ["$6,000", "$6,500"]}, {"options": []})
    assert choice.slices["subject"] == "Accounting"
    text, formula = asked(published.save(tmp_path / "c", "ocrbench"))
    assert (text.measures, formula.measures) == (("containment",), ("formula_containment",))
    (pages,) = asked(published.save(tmp_path / "d", "mp-docvqa"))
    assert parts(pages)[:2] == [[40, 60], [44, 60]]
    first, second = asked(published.save(tmp_path / "e", "mm-mt-bench"))
    assert [turn.role for turn in second.turns] == ["user", "assistant", "user"]
    assert (first.answers, second.answers) == (("A chart.",), ("Sales.",))


def test_mmlu_is_asked_with_five_examples_of_its_subject(tmp_path: Path) -> None:
    folder = published.save(tmp_path, "mmlu")
    rows = [
        {
            "question": f"{subject} {number}?",
            "subject": subject,
            "choices": list("wxyz"),
            "answer": number % 4,
        }
        for number in range(7)
        for subject in ("number_theory", "law")
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "all" / "dev-00000-of-00001.parquet")
    (one,) = asked(folder)
    assert [turn.role for turn in one.turns] == ["user", "assistant"] * 5 + ["user"]
    assert one.turns[2].parts == ("number_theory 1?\nA. w\nB. x\nC. y\nD. z\nAnswer:",)
    assert [turn.parts for turn in one.turns[1::2]] == [("A",), ("B",), ("C",), ("D",), ("A",)]
    assert (one.answers, one.turns[-1].parts[0]) == (("B",), one.question)


def dude(folder: Path, *rows: dict[str, Any]) -> Path:
    """DUDE as it is published: the JSON of all splits, and the documents as their archive unpacks."""
    (folder / "DUDE_train-val-test_binaries/PDF/val").mkdir(parents=True)
    (folder / "DUDE_train-val-test_binaries/PDF/val/abc.pdf").write_bytes(pdf_bytes([(100, 200)] * 2))
    row = {"docId": "abc", "question": "Who?", "data_split": "val", "answers_variants": []}
    row |= {"answers_page_bounding_boxes": []}
    data = [row | {"questionId": f"abc_{number}"} | one for number, one in enumerate(rows)]
    (folder / "2023-03-23_DUDE_gt_test_PUBLIC.json").write_text(
        json.dumps({"dataset_name": "DUDE Dataset", "dataset_version": "1.0.7", "data": data})
    )
    return folder


def test_dude_is_scored_by_its_kind_of_answer(tmp_path: Path) -> None:
    folder = dude(
        tmp_path,
        {"answers": ["Ltd"], "answers_variants": ["Limited"], "answer_type": "extractive"},
        {"answers": ["a", "b"], "answer_type": "list/abstractive"},
        {"answers": [], "answer_type": "not-answerable"},
        {"answers": [""], "answer_type": "not-answerable"},
        {"answers": ["x"], "answer_type": "extractive", "docId": "5c5a5880e6a73b4be2315d506ab0b15b"},
        {"data_split": "test"},
    )
    one, many, missing, empty = asked(folder)
    assert [one.answers, many.answers, missing.answers, empty.answers] == [
        ("Ltd", "Limited"),
        ("a, b",),
        ("not answerable",),
        ("not answerable",),
    ]
    assert [one.facts["answers"], many.facts["answers"], missing.facts["answers"]] == [
        ["Ltd"],
        ["a", "b"],
        [""],
    ]
    said = {"limited": one, "B, a": many, "It is not answerable.": missing, "none": empty}
    assert [scores["dude_anls"] for scores in score_all((what, text) for text, what in said.items())] == [
        0.0,  # DUDE's own scorer knows no variants
        1.0,
        1.0,
        0.0,
    ]
    assert next(score_all([(one, "limited")]))["anls"] == 1.0
    assert [part for part in parts(one) if isinstance(part, list)] == [[512, 1024]] * 2
    assert 'say "not answerable"' in str(parts(one)[-1])


def test_mp_docvqa_publishes_its_lists_as_text(tmp_path: Path) -> None:
    folder = published.save(tmp_path, "mp-docvqa")
    (one,) = asked(folder)
    assert one.answers == ("two", "page 2")
    assert one.slices == {"pages": "2", "page of the answer": "2"}
    for text in ("['two'", "5", "'two'", "{'two'}", "{[]: 1}", "(" * 9_000):
        row = published.ROWS["mp-docvqa"][0] | {"answers": text}
        pq.write_table(pa.Table.from_pylist([row]), folder / published.FILES["mp-docvqa"])
        with pytest.raises(ValueError, match=r"row data/val-0.* is no Python list"):
            asked(folder)


def test_olmocr_bench_draws_its_documents(tmp_path: Path) -> None:
    bench = tmp_path / "bench_data"
    (bench / "pdfs" / "math").mkdir(parents=True)
    (bench / "pdfs" / "math" / "a.pdf").write_bytes(pdf_bytes([(100, 200)]))
    fact = {"pdf": "math/a.pdf", "page": 1, "id": "a_1", "type": "present", "text": "Total", "max_diffs": 1}
    (bench / "math.jsonl").write_text(json.dumps(fact) + "\n\n" + json.dumps(fact | {"id": "a_2", "page": 2}))
    with pytest.raises(ValueError, match=r"row math-1 .*pdf.* cannot be drawn"):
        asked(bench)
    (one,) = asked(bench, limit=1)
    assert one.measures == ("fact",)
    assert one.facts == {"fact": {"type": "present", "text": "Total", "max_diffs": 1}}
    assert str(one.turns[0].parts[1]).startswith("Transcribe this page as Markdown.")


def omnidocbench(folder: Path, **changed: Any) -> Path:
    """Its file and its images as they are published, with a page of three blocks and a formula."""
    (folder / "images").mkdir(parents=True)
    image = Image.new("RGB", (200, 100), "white")
    image.paste((255, 0, 0), (20, 10, 60, 30))
    image.save(folder / "images" / "page_1.png")

    def block(kind: str, left: float, top: float, right: float, bottom: float, **rest: Any) -> dict[str, Any]:
        poly = [left, top, right, top, right, bottom, left, bottom]
        return {"category_type": kind, "poly": poly, "ignore": False, "attribute": {}} | rest

    page = {
        "layout_dets": [
            block("title", 19.6, 10.2, 59.8, 30.4, text="Total", order=1, line_with_spans=[]),
            block("figure", 0, 0, 9, 9),
            block("equation_isolated", 0, 0, 9, 9, latex="$$x$$"),
            block("table", 100, 50, 180, 90, html="<table><tr><td>1</td></tr></table>", latex="x"),
        ],
        "extra": {"relation": []},
        "page_info": {
            "page_no": 1, "height": 100, "width": 200, "image_path": "page_1.png",
            "page_attribute": {"data_source": "book", "language": "english", "layout": "single_column"},
        },
    } | changed  # fmt: skip
    (folder / "OmniDocBench.json").write_text(json.dumps([page]))
    (folder / "other.json").write_text("[]")
    return folder


def test_omnidocbench_is_asked_page_by_page(tmp_path: Path) -> None:
    page, *_ = asked(omnidocbench(tmp_path / "a"))
    assert page.id == "page_1"
    picture, prompt = page.turns[0].parts
    assert isinstance(picture, Picture)
    assert str(picture.path).endswith("images/page_1.png")
    assert "tables as HTML" in str(prompt)
    assert page.measures == ("omnidocbench_page_text", "omnidocbench_page_order", "omnidocbench_page_teds")
    assert weight("omnidocbench_page_teds", page) == 1
    assert page.slices["block"] == "page"
    written = "Total\n\n<table><tr><td>1</td></tr></table>\n\n$$x$$"
    assert next(score_all([(page, written)])) == dict.fromkeys(page.measures, 1.0)
    assert next(score_all([(page, "Tot")])) == {
        "omnidocbench_page_text": 3 / 5,
        "omnidocbench_page_order": 1.0,
        "omnidocbench_page_teds": 0.0,
    }
    alone = {"category_type": "figure", "poly": [0] * 8, "anno_id": 1}
    assert asked(omnidocbench(tmp_path / "b", layout_dets=[alone])) == []


def test_omnidocbench_is_asked_block_by_block(tmp_path: Path) -> None:
    folder = omnidocbench(tmp_path / "a")
    _, title, table = asked(folder)
    assert [one.id for one in (title, table)] == ["page_1-0-text", "page_1-3-html"]
    assert parts(title)[0] == [40, 20]
    picture = title.turns[0].parts[0]
    assert isinstance(picture, Picture)
    colours = Image.open(io.BytesIO(picture.data or b"")).getcolors()
    assert colours == [(800, (255, 0, 0))]  # nothing but the block
    assert parts(table) == [[80, 40], "Please convert this cropped image directly into html format of table."]
    assert (title.measures, table.measures) == (("omnidocbench_text",), ("omnidocbench_teds",))
    assert title.slices == {
        "block": "title", "data_source": "book", "language": "english", "layout": "single_column",
    }  # fmt: skip
    assert title.document == table.document == "page_1.png"
    scores = score_all([(title, "TOTAL"), (table, table.answers[0])])
    assert list(scores) == [{"omnidocbench_text": pytest.approx(1 / 5)}, {"omnidocbench_teds": 1.0}]
    found = find(str(folder))
    assert "in our words; without formulas" in str(loading.note(found, 10**6))
    outside = {
        "category_type": "title",
        "text": "x",
        "order": 1,
        "poly": [900, 900, 950, 900, 950, 950, 900, 950],
    }
    with pytest.raises(
        ValueError, match=r"row OmniDocBench-0 .*block lies outside the image images/page_1.png"
    ):
        asked(omnidocbench(tmp_path / "b", layout_dets=[outside]))


def jsonl(folder: Path, *rows: dict[str, Any]) -> Path:
    (folder / "a.png").write_bytes(published.png())
    place = folder / "mine.jsonl"
    place.write_text("\n".join(map(json.dumps, rows)))
    return place


def test_questions_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "x.pdf").write_bytes(pdf_bytes([(100, 100), (100, 200)]))
    rows: list[dict[str, Any]] = [
        {
            "id": "7",
            "question": "Total?",
            "answers": ["1"],
            "image": "a.png",
            "dataset": "mine",
            "note": "n" * 99,
        },
        {"question": "Then?", "answer": 2, "metric": "number", "tolerance": 0.1},
        {
            "question": "A <image> or <image>?",
            "answers": ["1"],
            "images": ["a.png"] * 2,
            "metric": ["math", "anls"],
        },
        {"question": "Both?", "answers": ["1"], "images": ["a.png"] * 2},
        {"question": "Page?", "answers": ["1"], "document": "x.pdf", "page": 2},
    ]
    one, two, three, four, five = asked(jsonl(tmp_path, *rows))
    suffix = "\nAnswer the question using a single word or phrase."
    image = Picture(path=str(tmp_path / "a.png"))
    assert one.turns[0].parts == (image, f"Total?{suffix}")
    assert (one.id, one.measures[0], dict(one.slices), one.document) == (
        "7",
        "anls",
        {"dataset": "mine"},
        "a.png",
    )
    assert (two.id, two.answers, two.measures, two.facts) == (
        "mine-1",
        ("2",),
        ("number",),
        {"tolerance": 0.1},
    )
    assert three.turns[0].parts == ("A ", image, " or ", image, f"?{suffix}")
    assert three.measures == ("math", "anls")
    assert four.turns[0].parts == (image, image, f"Both?{suffix}")
    assert parts(five)[0] == [512, 1024]
    (free,) = loading.questions(find(str(tmp_path / "mine.jsonl")), style="free", measures=("anls",), limit=1)
    assert free.turns[0].parts[1] == "Total?"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answers": ["1"]}, "row mine-0 .*no question"),
        ({"question": "Q?"}, "no accepted answer"),
        ({"question": "Q?", "answers": []}, "no accepted answer"),
        ({"question": "Q?", "answers": ["1"], "metric": "rouge"}, "measure 'rouge'; known are anls"),
        ({"question": "Q?", "answers": ["1"], "image": 5}, "neither bytes nor a path"),
        ({"question": "Q?", "answers": ["1"], "image": "../../etc/passwd"}, "lies outside"),
        ({"question": "Q?", "answers": ["1"], "document": "../x.pdf"}, "lies outside"),
        ({"question": "Q?", "answers": ["1"], "document": "gone.pdf"}, "gone.pdf .*cannot be read"),
        ({"question": "Q?", "answers": ["1"], "document": "a.png", "page": 3}, "cannot be drawn"),
    ],
)
def test_a_row_that_cannot_be_asked_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        asked(jsonl(tmp_path, row))


def test_a_wrong_or_partial_download_is_a_sentence(tmp_path: Path) -> None:
    folder = published.save(tmp_path / "a", "docvqa")
    whole = folder / published.FILES["docvqa"]
    half = whole.read_bytes()[:-100]
    whole.rename(whole.with_name("validation-00001-of-00003.parquet"))
    with pytest.raises(ValueError, match=r"part 0 of 3 is missing \(2 in all\): download"):
        find(str(folder))
    (tmp_path / "torn.parquet").write_bytes(half)
    with pytest.raises(ValueError, match=r"torn.parquet is no whole Parquet file; download"):
        asked(tmp_path / "torn.parquet")
    (tmp_path / "torn.jsonl").write_text('{"question": "Q?", "answers": ["1"]}\n{"quest')
    with pytest.raises(ValueError, match=r"torn.jsonl is not JSON, or not whole"):
        asked(tmp_path / "torn.jsonl")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    (tmp_path / "lfs.parquet").write_text(pointer)
    with pytest.raises(ValueError, match="no whole Parquet file"):
        asked(tmp_path / "lfs.parquet")
    for name, text in {"list.json": "5", "list.jsonl": "[1]"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="holds no objects"):
            asked(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no \.parquet, \.jsonl or \.json file"):
        find(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"no data set docqva: give a path.*docvqa"):
        find("docqva")


def test_mt_bench_on_the_hub_lacks_references_of_four_questions(tmp_path: Path) -> None:
    place = published.save(tmp_path, "mt-bench") / published.FILES["mt-bench"]
    both = ["Why does he go there?", "Why is that funny?"]
    lacking = [
        {
            "prompt": both,
            "prompt_id": 15896981,
            "category": "reasoning",
            "reference": ["He works there.", ""],
        },
        {"prompt": both, "prompt_id": 51654912, "category": "coding", "reference": None},
    ]
    pq.write_table(pa.Table.from_pylist(published.ROWS["mt-bench"] + lacking), place)
    questions = loading.questions(find(str(tmp_path)), style="short", measures=(), limit=None, judged=True)
    assert [one.facts["references"] for one in questions] == [[], ["2", "4"], [], []]


def mt_bench(folder: Path) -> Path:
    """As its repository is: the rows as Parquet, and in raw/ the file that they were made of."""
    published.save(folder, "mt-bench")
    rows = [{"question_id": 81, **row, "prompt_id": None} for row in published.ROWS["mt-bench"]]
    (folder / "raw").mkdir()
    return jsonl(folder / "raw", *rows).parent.parent


SCRIPT = """
import sys
from jobs.evaluation import loading
from jobs.evaluation.datasets.finding import find
for name in sys.argv[1:]:
    try:
        found = find(name)
        some = loading.questions(found, style="short", measures=("anls",), limit=None, judged=True)
        print(found.name, len(list(some)))
    except ValueError as error:
        print("error:", error)
"""


@pytest.mark.processes
def test_a_name_is_downloaded_from_the_hub(tmp_path: Path) -> None:
    folder = published.save(tmp_path / "hub", "chartqa")
    (folder / "README.md").write_text("not asked for")
    command = [sys.executable, "-c", SCRIPT, "chartqa", "lmms-lab/ChartQA", "nobody/nothing", "omnidocbench"]
    command += ["mt-bench"]
    served_sets = {
        "datasets/lmms-lab/ChartQA": Repository({COMMIT: folder}),
        "datasets/opendatalab/OmniDocBench": Repository({COMMIT: omnidocbench(tmp_path / "omni")}),
        "datasets/HuggingFaceH4/mt_bench_prompts": Repository({COMMIT: mt_bench(tmp_path / "mt")}),
    }
    with served(served_sets) as hub:
        environment = hub.environment(tmp_path / "cache")
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["chartqa 2", "chartqa 2"], done.stderr
    assert lines[2].startswith("error: the hub has no data set nobody/nothing")
    assert lines[3] == "omnidocbench 3"  # with the images that its rows name
    assert lines[4] == "mt-bench 2"  # without those of raw/
    assert not list((tmp_path / "cache").rglob("README.md"))  # only the split's files
