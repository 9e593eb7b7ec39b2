"""What a person names on the command line, targets and questions, and one sentence where it is wrong."""

import json
from pathlib import Path

import pytest

from schemas.columns import UnsupportedType
from schemas.targets import Invoice, Question, Receipt, load_questions, load_target


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "from pydantic import BaseModel\n"
        "class Letter(BaseModel):\n    sender: str\n"
        "class Odd(BaseModel):\n    notes: list[dict[str, int]]\n"
        "class Plain:\n    pass\n"
    )
    (tmp_path / "own_targets.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)


def test_shipped_targets_go_by_their_names() -> None:
    assert load_target("Invoice") is Invoice
    assert load_target("Receipt") is Receipt
    assert load_target("schemas.targets:Invoice") is Invoice


@pytest.mark.usefixtures("own_module")
def test_a_target_of_one_s_own_is_module_and_class() -> None:
    assert list(load_target("own_targets:Letter").model_fields) == ["sender"]


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("invoice", "target 'invoice' is neither module:Class nor one of Invoice, Receipt"),
        ("own_targets:", "neither module:Class nor"),
        (":Letter", "neither module:Class nor"),
        (
            "nowhere:Letter",
            "module 'nowhere' cannot be imported: ModuleNotFoundError: No module named 'nowhere'",
        ),
        ("own_targets:Missing", "the module 'own_targets' has no 'Missing'"),
        ("own_targets:Plain", "is not a pydantic model; derive it from pydantic.BaseModel"),
        ("own_targets:BaseModel", "^BaseModel is a model without named fields; it needs at least one"),
        ("..:Letter", "neither module:Class nor"),
        ("letter.yaml", "neither module:Class nor one of Invoice, Receipt, nor a .json file"),
    ],
)
def test_a_name_that_leads_to_no_target_is_one_sentence(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_target(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("import not_installed_anywhere", 1, "ModuleNotFoundError: No module named 'not_installed_anywhere'"),
        ("\nraise ImportError", 2, "ImportError"),
        ("fee = Decimal(1)", 1, "NameError: name 'Decimal' is not defined"),
        ("\n\nopen('/nowhere/rates.csv')", 3, "FileNotFoundError: [Errno 2] No such file or directory"),
        ("import sys\nsys.exit()", 2, "SystemExit"),
        ("import sys\nsys.exit('no licence\\nsee LICENSE')", 2, "SystemExit: no licence"),
        ("raise BaseException('odd')", 1, "BaseException: odd"),
        ("class A(:", 1, "SyntaxError: invalid syntax"),
        ("if True:\npass", 2, "IndentationError: expected an indented block"),
        ("import json\nrates = json.loads('{')", 2, "JSONDecodeError: Expecting property name"),
        (
            "from pydantic import BaseModel\nclass Plain: pass\nclass A(BaseModel): plain: Plain",
            3,
            "PydanticSchemaGenerationError: Unable to generate pydantic-core schema",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_file_line_and_cause(
    text: str, line: int, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "own_broken_targets.py"
    module.write_text(text + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"^target 'own_broken_targets:A': module ") as caught:
        load_target("own_broken_targets:A")
    assert f"cannot be imported: {module}, line {line}: {cause}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("own_module")
def test_a_target_with_an_unsupported_type_is_refused_before_anything_starts() -> None:
    with pytest.raises(UnsupportedType, match=r"field 'notes\[\]' has the type dict\[str, int\]"):
        load_target("own_targets:Odd")


def test_a_question_without_an_id_gets_one_from_its_text_alone() -> None:
    assert Question(text="Who pays?").id == "q-1bcba518"
    assert Question(text=" Who pays? ").id == Question(text="Who pays?").id
    assert Question(text="Who pays?", id="payer").id == "payer"


@pytest.mark.parametrize(
    ("pattern", "uri", "expected"),
    [
        (None, "/a/b.pdf", True),
        ("*.pdf", "/a/b.pdf", True),
        ("*.pdf", "s3://bucket/a/b.pdf", True),
        ("a/*.pdf", "s3://bucket/a/b.pdf", True),
        ("c/*.pdf", "/a/b.pdf", False),
        ("b", "/a/b.pdf", False),
        ("2024/**/*.pdf", "/in/2024/a.pdf", True),
        ("2024/**/*.pdf", "/in/2024/may/01/a.pdf", True),
        ("2024/**/*.pdf", "/in/2025/may/a.pdf", False),
        ("2024/**/may/*", "/in/2024/x/may/y/a.pdf", False),
        ("in/**", "s3://bucket/in/x/a.pdf", True),
        ("**", "/a.pdf", True),
        ("/in/**/a.pdf", "/in/a.pdf", True),
        ("/n/**/a.pdf", "/i/n/a.pdf", False),
        ("a/b/c/d.pdf", "/c/d.pdf", False),
        ("b.pdf/**/c.pdf", "/a/b.pdf", False),
        ("a/b.pdf/", "/a/b.pdf", True),
        ("[ab]?.PDF", "/in/ax.PDF", True),
        ("[ab]?.PDF", "/in/ax.pdf", False),
    ],
)
def test_a_question_may_be_for_some_documents(pattern: str | None, uri: str, expected: bool) -> None:
    assert Question(text="?", documents=pattern).is_for_document(uri) == expected


@pytest.mark.parametrize("pattern", [".", "./", ""])
def test_a_glob_without_a_name_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="documents"):
        Question(text="?", documents=pattern)


def test_a_question_may_be_for_some_pages() -> None:
    assert [Question(text="?", pages=[1, 3]).is_for_page(page) for page in (1, 2, 3)] == [True, False, True]
    assert Question(text="?").is_for_page(99)


def test_a_text_file_holds_one_question_a_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    path.write_text("\ufeffWho pays?\r\n\n  How much? \n", encoding="utf-8")
    assert load_questions(path) == [Question(text="Who pays?"), Question(text="How much?")]


BREAKS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # where `splitlines` breaks a line, too


@pytest.mark.parametrize("character", [*BREAKS, "\r"])
def test_a_line_ends_at_a_line_feed_alone(tmp_path: Path, character: str) -> None:
    text = f"What is{character}the total?"
    asked = [Question(text=text), Question(text="Who pays?")]
    plain, objects = tmp_path / "a.txt", tmp_path / "a.jsonl"
    plain.write_bytes(f"{text}\nWho pays?\r\n".encode())
    assert load_questions(plain) == asked
    # In a string of JSON a control character can only be written out.
    inside = f'{{"text": "{text}"}}' if character >= " " else f'{{"text": {json.dumps(text)}}}'
    objects.write_bytes(f'{inside}\r\n{{"text":\r"Who pays?"}}'.encode())
    assert load_questions(objects) == asked


def test_a_jsonl_file_holds_one_question_an_object(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(
        '{"text": "Who?"}\n\n{"id": "sum", "text": "How much?", "documents": "*.pdf", "pages": [2]}\n'
    )
    assert load_questions(path) == [
        Question(text="Who?"),
        Question(id="sum", text="How much?", documents="*.pdf", pages=[2]),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "a.txt holds no questions; write at least one"),
        ("a.txt", "Who?\n\nWho?\n", "a.txt: lines 1 and 3 are the same question"),
        ("a.csv", "Who?\n", "questions come in a .txt file"),
        ("a.jsonl", '{"text": "a"}\n{"text":\n', "a.jsonl, line 2 is not JSON"),
        ("a.jsonl", '{"text": "a", "page": 1}\n', "a.jsonl, line 1: page: Extra inputs are not permitted"),
        ("a.jsonl", '{"id": "a"}\n', "a.jsonl, line 1: text: Field required"),
        ("a.jsonl", '{"text": "  "}\n', "a.jsonl, line 1: text: String should have at least 1 character"),
        ("a.jsonl", '{"text": "a", "pages": [0]}\n', "a.jsonl, line 1: pages.0: Input should be greater"),
        ("a.jsonl", "3\n", "a.jsonl, line 1: Input should be"),
        ("a.jsonl", '{"text": "a"}\n' + "[" * 100_000, "a.jsonl, line 2 is nested deeper than 200 levels"),
        ("a.jsonl", '{"text": "\\ud800"}\n', "a.jsonl, line 1 holds half a surrogate pair"),
        (
            "a.jsonl",
            '{"text": "a", "text": "b"}\n',
            "a.jsonl, line 1 has the name 'text' twice in one object",
        ),
        (
            "a.jsonl",
            '{"text": "a", "pages": [' + "1" * 5000 + "]}\n",
            "line 1 holds a number of more than 400",
        ),
        ("a.jsonl", '{"text": "a", "id": "x"}\n{"text": "b", "id": "x"}\n', "lines 1 and 2 .* 'x'"),
    ],
)
def test_a_file_of_questions_that_is_wrong_says_where(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_questions(path)
    assert "\n" not in str(caught.value)


def test_a_file_of_questions_that_cannot_be_read_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.txt cannot be read as UTF-8 text"):
        load_questions(tmp_path / "missing.txt")
    (tmp_path / "latin.txt").write_bytes(b"Gr\xf6\xdfe?\n")
    with pytest.raises(ValueError, match=r"latin\.txt cannot be read as UTF-8 text"):
        load_questions(tmp_path / "latin.txt")
