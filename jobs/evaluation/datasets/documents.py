"""DocVQA and its relatives: questions about pages, answered in a word or phrase, scored by ANLS.

DocVQA (Mathew et al. 2020), InfographicVQA (2021), MP-DocVQA (Tito et al. 2022) and DUDE (Van Landeghem et
al. 2023). `anls` is the leaderboard's, `anls_0` is mistral-evals'. `dude_anls` is DUDEeval's: it knows lists,
and no answer, but not the variants that DUDE's rows bring, which `anls` accepts.
"""

from collections.abc import Iterator

from jobs.evaluation.asked import Asked, Row, ask
from jobs.evaluation.datasets.family import Family, listed, picture, texts
from jobs.evaluation.datasets.prompts import DOCVQA, DUDE
from jobs.evaluation.datasets.rasterizing import PAGES, document_pictures
from jobs.evaluation.scorers.lists import NOT_ANSWERABLE

DUDE_PDFS = "DUDE_train-val-test_binaries/PDF"  # as its archive unpacks beside the JSON
DUDE_MISSING = ("5c5a5880e6a73b4be2315d506ab0b15b", "ef03364aa27a0987c9870472e312aceb", "nan")


def _docvqa(row: Row, name: str) -> Iterator[Asked]:
    yield Asked(
        id=str(row["questionId"]),
        turns=ask(f"{row['question']}\n{DOCVQA}", picture(row["image"])),
        question=row["question"],
        answers=texts(row["answers"]),
        measures=("anls_0", "anls", "exact_match"),
        slices={"type": ", ".join(row.get("question_types") or ())} if row.get("question_types") else {},
        document=str(row.get("docId", name)),
    )


def _infographic(row: Row, name: str) -> Iterator[Asked]:
    kind = row.get("answer_type")
    kind = ", ".join(kind) if isinstance(kind, list) else kind
    yield Asked(
        id=str(row["questionId"]),
        turns=ask(f"{row['question']}\n{DOCVQA}", picture(row["image"])),
        question=row["question"],
        answers=texts(row["answers"]),
        measures=("anls", "anls_0", "exact_match"),
        slices={"answer type": kind} if kind else {},
        document=str(row.get("image_url") or name),
    )


def _pages(row: Row, name: str) -> Iterator[Asked]:
    """MP-DocVQA: up to 20 pages, of which one holds the answer. The accepted answers are a list, as text."""
    pages = [row[key] for key in (f"image_{number}" for number in range(1, PAGES + 1)) if row.get(key)]
    if not pages:
        raise ValueError("it has no image")
    yield Asked(
        id=str(row["questionId"]),
        turns=ask(f"{row['question']}\n{DOCVQA}", *map(picture, pages)),
        question=row["question"],
        answers=texts(listed(row["answers"])),
        measures=("anls", "mp_docvqa_anls", "anls_0", "exact_match"),
        slices={"pages": str(len(pages)), "page of the answer": str(int(row["answer_page_idx"]) + 1)},
        document=str(row.get("doc_id", name)),
    )


def _dude(row: Row, name: str) -> Iterator[Asked]:
    """DUDE: an answer may be a list, or missing. The document of some questions was never published."""
    split, document = row["data_split"], row["docId"]
    if split != "val" or document in DUDE_MISSING:
        return
    kind = str(row["answer_type"])
    is_list, given = kind.startswith("list"), [str(one) for one in row["answers"] or ()]
    unanswerable = kind.replace("-", " ") == NOT_ANSWERABLE or not any(given)
    scored = given if any(given) else [""]
    if unanswerable:
        accepted = [NOT_ANSWERABLE]
    elif is_list:
        accepted = [", ".join(given)]
    else:
        accepted = [one for one in (*given, *map(str, row.get("answers_variants") or ())) if one]
    pages = document_pictures(row["folder"], f"{DUDE_PDFS}/{split}/{document}.pdf", PAGES)
    yield Asked(
        id=str(row["questionId"]),
        turns=ask(f"{row['question']}\n{DUDE}", *pages),
        question=row["question"],
        answers=texts(accepted),
        measures=("dude_anls", "anls", "exact_match"),
        facts={"answers": scored, "is_list": is_list and not unanswerable},
        slices={"answer type": kind},
        document=str(document),
    )


FAMILIES = (
    Family(
        name="docvqa",
        hub="lmms-lab/DocVQA",
        files="DocVQA/validation-*.parquet",
        columns=("questionId", "question", "question_types", "image", "docId", "answers"),
        ask=_docvqa,
        max_new_tokens=10,
        rows=5_349,
    ),
    Family(
        name="infographicvqa",
        hub="lmms-lab/DocVQA",
        files="InfographicVQA/validation-*.parquet",
        columns=("questionId", "question", "answers", "answer_type", "image", "image_url"),
        ask=_infographic,
        max_new_tokens=32,
        rows=2_801,
    ),
    Family(
        name="mp-docvqa",
        hub="lmms-lab/MP-DocVQA",
        files="data/val-*.parquet",
        columns=("questionId", "question", "answers", "doc_id", "image_1", "answer_page_idx"),
        ask=_pages,
        max_new_tokens=32,
        rows=5_187,
    ),
    Family(
        name="dude",
        hub="",
        files="*_gt_*.json",
        columns=("docId", "questionId", "question", "data_split"),  # questions of the test split have no more
        ask=_dude,
        max_new_tokens=64,
        rows=6_315,
        note="only the first 20 pages are shown; the prompt, and how a text becomes a list, are ours",
    ),
)
