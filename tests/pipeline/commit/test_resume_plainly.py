"""The search for what is left, by sorted keys and in chunks, finds what a search row by row does."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commit import chunks, resume
from pipeline.commit.file_index import FileIndex
from pipeline.commit.resume import Remaining, find_remaining
from pipeline.commit.tables import Table, answers_of, create_tables
from pipeline.ingest.key_index import KeyIndex
from pipeline.ingest.sources import SOURCES
from pipeline.plan.keys import asked_key, is_asked, item_key
from pipeline.plan.plan import Plan
from pipeline.plan.rows import Row
from schemas.targets import Question, Receipt
from tests.pipeline.plans import ASK, PLAN

QUESTIONS = (
    Question(id="any", text="Any?"),
    Question(id="pdf", text="Of a PDF?", documents="*.pdf"),
    Question(id="third", text="On page 3?", pages=[3]),
)
TARGET = Question(id="Receipt", text="Receipt")
ASKS = (
    replace(ASK, settings_key="of text", questions=QUESTIONS),
    replace(ASK, number=1, settings_key="of receipts", questions=(TARGET,), target="Receipt"),
)
GLOBS = replace(PLAN, asks=ASKS)
EVERYWHERE = replace(PLAN, asks=(replace(ASKS[0], questions=QUESTIONS[:1]), ASKS[1]))
URIS = ("/in/a.pdf", "/in/b.pdf", "/in/c.png", "/in/d.png")
REASONS = ("timeout", "unreadable")
Document = tuple[str, int]  # a uri, and which of its contents, or of the rows that name it

DOCUMENTS = st.tuples(st.sampled_from(URIS), st.integers(0, 2))


def source_key(document: Document) -> str:
    return hashlib.sha256(repr(document).encode()).hexdigest()[:32]


@dataclass
class Stored:
    """An output: its rows by file, by table."""

    files: dict[str, list[list[Row]]] = field(default_factory=dict)

    def rows(self, name: str) -> list[Row]:
        return [row for rows in self.files[name] for row in rows]

    def stream(self, table: Table, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        schema = pa.schema([table.schema.field(name) for name in columns])
        for number, rows in enumerate(self.files.get(table.name, ())):
            yield path_of(number), pa.Table.from_pylist(rows, schema=schema)


def path_of(number: int) -> str:
    return f"part-{number}.parquet"


@st.composite
def document_rows(draw: st.DrawFn, plan: Plan) -> Row:
    document = draw(DOCUMENTS)
    counts = {name: draw(st.integers(0, 3)) for name in resume.COUNT_COLUMNS}
    return counts | {
        "uri": document[0],
        "source_key": source_key(document),
        "asked_key": draw(st.sampled_from([asked_key(plan, document[0]), "0" * 32, None])),
        "run_id": draw(st.sampled_from(["first", "second"])),
        "status": draw(st.sampled_from(["complete", "partial", "failed"])),
    }


@st.composite
def item_rows(draw: st.DrawFn, number: int) -> Row:
    document, ask = draw(DOCUMENTS), ASKS[number]
    question = draw(st.sampled_from(ask.questions))
    page = draw(st.sampled_from([1, 3]))
    return {
        "uri": document[0],
        "source_key": source_key(document),
        "settings_key": draw(st.sampled_from([ask.settings_key, "others"])),
        "item_key": item_key(ask, source_key(document), page, page, question),
        "question_id": question.id,
        "question": draw(st.sampled_from([question.text, "In other words?"])),
        "page_first": page,
        "page_last": page,
        "reason": draw(st.sampled_from(REASONS)),
    }


@st.composite
def outputs(draw: st.DrawFn, plan: Plan, answers: Sequence[str]) -> Stored:
    """Of tables of answers with these names, failures and documents."""

    def files(rows: st.SearchStrategy[Row]) -> list[list[Row]]:
        return draw(st.lists(st.lists(rows, max_size=4), max_size=3))

    found = {name: files(item_rows(number)) for number, name in enumerate(answers)}
    failures = files(st.integers(0, 1).flatmap(item_rows))
    return Stored(found | {"failures": failures, "documents": files(document_rows(plan))})


def plainly(
    sources: Sequence[Row], stored: Stored, answers: Sequence[str], plan: Plan, again: frozenset[str] | None
) -> dict[str, Any]:
    """What is left, row by row, as its definition has it."""
    retried = {
        row["source_key"]
        for row in stored.rows("failures")
        if row["reason"] in (again or ()) and is_asked(plan, row)
    }
    asked_keys = {one["source_key"]: asked_key(plan, one["uri"]) for one in sources}
    finished = [
        row
        for row in stored.rows("documents")
        if row["asked_key"] is not None and asked_keys.get(row["source_key"]) == row["asked_key"]
        if row["source_key"] not in retried
    ]
    done = {row["source_key"] for row in finished}
    items: dict[str, dict[str, list[str]]] = {"answered": {}, "failed": {}}
    for name in (*answers, "failures"):
        kind = "failed" if name == "failures" else "answered"
        for row in stored.rows(name):
            if is_asked(plan, row) and not (kind == "failed" and row["reason"] in (again or ())):
                items[kind].setdefault(row["source_key"], []).append(row["item_key"])
    left = [
        source | {kind: keys.get(source["source_key"]) for kind, keys in items.items()}
        for source in sources
        if source["source_key"] not in done
    ]
    wanted = {one["uri"] for one in left}
    doubled = {key for one in left for key in one["failed"] or () if key in (one["answered"] or ())}
    if again is not None:
        left = [one for one in left if one["source_key"] in retried or one["answered"] or one["failed"]]
    return {
        "left": sorted(left, key=itemgetter("source_key")),
        "done": len(finished),
        "expected": sum(row["items_expected"] for row in finished),
        "runs": sorted({row["run_id"] for row in finished}),
        "stale": {
            name: {
                path_of(number) for number, rows in enumerate(files) for row in rows if row["uri"] in wanted
            }
            for name, files in stored.files.items()
        },
        "doubled": doubled,
    }


def as_plainly(found: Remaining, names: Sequence[str]) -> dict[str, Any]:
    return {
        "left": sorted(found.sources.to_pylist(), key=itemgetter("source_key")),
        "done": found.counts.documents_done,
        "expected": found.counts.expected,
        "runs": list(found.run_ids),
        "stale": {name: files_of(found.stale_rows._indices[name]) for name in names},
        "doubled": found.stale_rows.doubled,
    }


def files_of(index: FileIndex) -> set[str | None]:
    """Where rows lie that may be stale."""
    return {index.paths[number] for span in index.spans(set(URIS)) for number in index._files[0][span]}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    return create_tables(str(tmp_path_factory.mktemp("out")), None, Receipt)


@pytest.mark.parametrize("plan", [GLOBS, EVERYWHERE], ids=["globs", "everywhere"])
@pytest.mark.parametrize("rows", [1, 3, 10**6])
def test_what_is_left_is_what_a_search_row_by_row_finds(
    tables: dict[str, Table], plan: Plan, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", rows)
    monkeypatch.setattr(resume, "LIST_ITEMS", rows)
    answers = [table.name for table in answers_of(tables)]

    @given(
        st.lists(DOCUMENTS, unique=True, max_size=8),
        outputs(plan, answers),
        st.sampled_from([None, frozenset[str](), frozenset(REASONS[:1]), frozenset(REASONS)]),
    )
    def check(documents: list[Document], stored: Stored, again: frozenset[str] | None) -> None:
        monkeypatch.setattr(chunks, "stream_files", stored.stream)
        rows = [{"uri": one[0], "location": one[0], "source_key": source_key(one)} for one in documents]
        sources = pa.Table.from_pylist(rows, schema=SOURCES)
        found = find_remaining(sources, tables, plan, again)
        expected = plainly(sources.to_pylist(), stored, answers, plan, again)
        assert as_plainly(found, list(stored.files)) == expected
        uris = [uri for uri, _ in documents]
        assert found.stale_rows._several.keys() == {uri for uri in uris if uris.count(uri) > 1}

    check()


def test_the_listing_is_hashed_for_no_chunk_and_sorted_once(
    tables: dict[str, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's `is_in` and `index_in` hash the values that they look in anew at each call."""
    documents = [(f"/in/{number}.pdf", 0) for number in range(400)]
    rows = [
        {"uri": one[0], "source_key": source_key(one), "asked_key": asked_key(EVERYWHERE, one[0])}
        | {
            "settings_key": "of text",
            "question_id": "any",
            "question": "Any?",
            "page_first": 1,
            "page_last": 1,
        }
        | {"item_key": source_key(one), "run_id": "first", "status": "complete", "reason": "timeout"}
        | dict.fromkeys(resume.COUNT_COLUMNS, 1)
        for one in documents
    ]
    files = [rows[start : start + 10] for start in range(0, 300, 10)]
    stored = Stored({table.name: files for table in answers_of(tables)[:1]})
    stored.files |= {"failures": files, "documents": files[:15]}
    monkeypatch.setattr(chunks, "stream_files", stored.stream)
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    hashed, sorted_ = list[int](), list[int]()
    for name in ("is_in", "index_in"):
        really = getattr(pc, name)

        def spy(values: Any, value_set: Any, really: Any = really) -> Any:
            hashed.append(len(value_set))
            return really(values, value_set=value_set)

        monkeypatch.setattr(pc, name, spy)

    def index(keys: Any) -> KeyIndex:
        sorted_.append(len(keys))
        return KeyIndex(keys)

    monkeypatch.setattr(resume, "KeyIndex", index)
    sources = pa.Table.from_pylist(
        [{"uri": uri, "location": uri, "source_key": source_key((uri, 0))} for uri, _ in documents],
        schema=SOURCES,
    )
    assert len(find_remaining(sources, tables, EVERYWHERE).sources) == 250
    assert len(hashed) > 50
    assert max(hashed) < 10
    assert sorted_ == [400]
