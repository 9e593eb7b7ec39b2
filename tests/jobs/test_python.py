"""The job from Python: its keywords are the command's flags, and its tables are Arrow's."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from jobs import extract as job
from jobs.extract import extract, make_parser
from jobs.run.config_of_flags import config_of
from jobs.run.keywords import arguments_of
from jobs.run.run_rules import hours
from schemas.arrow import to_row
from schemas.local_class import text_of_class
from schemas.targets import Invoice, Money, load_target
from tests.environment import without_ray
from tests.jobs.parrot import save_parrot
from tests.jobs.targets import Slip
from tests.pipeline.drawn import pdf_bytes

ROOT = Path(__file__).parents[2]


def parsed(**keywords: object) -> dict[str, Any]:
    parser = make_parser()
    given = {"input": "in", "output": "out"} | keywords
    return dict(vars(parser.parse_args(arguments_of(parser, given))))


def test_each_flag_is_a_keyword() -> None:
    values: dict[str, object] = {"choices": "", "count": 3, "path": Path("a b")}
    for action in make_parser()._actions:
        flag = action.option_strings[-1]
        name = flag.removeprefix("--no-").removeprefix("--").replace("-", "_")
        if name in ("help", "input", "output", "config", "print_config"):
            continue
        if action.nargs == 0:
            assert parsed(**{name: True})[action.dest] is True
        elif action.choices:
            values["choices"] = list(action.choices)[-1]
            assert parsed(**{name: values["choices"]})[action.dest] == values["choices"]
        elif name == "fail_above":
            assert parsed(fail_above="3%")["fail_above"] == 0.03
        elif action.type in (int, float, hours):
            assert parsed(**{name: 3})[action.dest] == 3
        else:
            found = parsed(**{name: 3 if name == "replicas" else Path("a b")})[action.dest]
            assert found in (3, "a b", ["a b"], Path("a b"))


def test_keywords_say_what_the_flags_say() -> None:
    said = parsed(question=["-a", "b c"], target=[Invoice, "markdown"], max_pages=2, merge=False, stop=None)
    words = "--input in --output out --question=-a --question=b\tc --target Invoice --target markdown"
    words += " --max-pages 2 --no-merge"
    flags = [word.replace("\t", " ") for word in words.split(" ")]
    assert said == vars(make_parser().parse_args(flags))
    assert parsed(input=["a", Path("b")])["inputs"] == ["a", "b"]
    assert parsed(keep_headers=False)["keep_headers"] is False
    assert parsed(seed=0, temperature=0.5)["seed"] == 0


@pytest.mark.parametrize(
    ("keywords", "flags"),
    [
        ({"questoin": "Total?"}, "--questoin=Total?"),
        ({"question": "Total?", "quick": True}, "--question Total? --quick"),
        ({"max_pages": "two"}, "--max-pages=two"),
        ({"style": "long"}, "--style=long"),
        ({"keep_headers": "yes"}, "--keep-headers=yes"),
        ({}, ""),
        ({"target": "Nothing"}, "--target Nothing"),
        ({"question": "Total?", "top_p": 3}, "--question Total? --top-p 3"),
    ],
)
def test_a_mistake_is_told_as_the_command_tells_it(
    keywords: dict[str, object], flags: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf_bytes())
    place = f"--input {tmp_path} --output {tmp_path / 'out'}"
    assert job.main(f"{place} {flags}".split()) == 2
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        extract(tmp_path, output=tmp_path / "out", **keywords)
    assert capsys.readouterr().err == f"error: {caught.value}\n"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"model": ["a", "b"]}, "--model takes one value, and 2 were given"),
        ({"model": []}, "--model takes one value, and 0 were given"),
        ({"max_pages": True}, "--max-pages takes a value, and True was given"),
        ({"question": b"x"}, "--question b'x': give it text, a number or a path"),
        ({"target": Path}, "--target <class 'pathlib"),
    ],
)
def test_what_no_flag_can_say_is_refused(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(").split("'pathlib")[0]):
        parsed(**keywords)


@pytest.mark.parametrize("flag", ["help", "print_config"])
def test_a_flag_that_ends_a_command_does_not_end_a_program(flag: str) -> None:
    with pytest.raises(ValueError, match="prints and ends: run it as a command"):
        extract("in", output="out", **{flag: True})


def test_another_thread_is_refused() -> None:
    errors: list[ValueError] = []

    def call() -> None:
        try:
            extract("in", output="out", question="Total?")
        except ValueError as error:
            errors.append(error)

    thread = Thread(target=call)
    thread.start()
    thread.join()
    assert "only the main thread can" in str(errors)


class Local(BaseModel):
    """A class of a notebook."""

    total: Money
    notes: list[str] | None = None
    paid: bool = False


Local.__module__ = "__main__"  # as it is there


class Slim(BaseModel):
    """Another."""

    total: Money


Slim.__module__ = "__main__"


class Checked(BaseModel):
    """One with code."""

    total: Money

    @field_validator("total")
    @classmethod
    def positive(cls, total: Decimal) -> Decimal:
        return total


def test_a_class_goes_by_its_name_or_by_its_schema() -> None:
    assert text_of_class(Invoice) == "Invoice"
    assert text_of_class(Slip) == "tests.jobs.targets:Slip"
    assert text_of_class(Checked) == f"{__name__}:Checked"
    found = load_target(text_of_class(Local))
    assert found.__name__ == "Local"
    value = found.model_validate({"total": "12.5", "notes": None, "paid": True})
    assert to_row(value) == {"total": Decimal("12.5"), "notes": None, "paid": True}


def test_code_of_a_class_that_others_cannot_import_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checked, "__module__", "__main__")
    with pytest.raises(
        ValueError, match="Checked has validators of its own, which other processes must be able"
    ):
        text_of_class(Checked)
    nested = type(
        "Outer", (BaseModel,), {"__annotations__": {"inner": list[Checked]}, "__module__": "__main__"}
    )
    with pytest.raises(ValueError, match=r"put the class into a \.py file"):
        text_of_class(nested)


@pytest.mark.processes
def test_a_run_and_its_tables(
    tmp_path: Path, one_cpu_ray: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "slip.pdf").write_bytes(pdf_bytes([(200, 200)] * 3))
    (tmp_path / "in" / "empty.pdf").write_bytes(b"")
    model = save_parrot(tmp_path / "parrot", '{"total": 12.50}')
    monkeypatch.chdir(tmp_path)
    result = extract("in", target=Slim, output="out", model=model, max_pages=2)
    assert [row["answer"]["total"] for row in result.answers.to_pylist()] == [Decimal("12.50")] * 2
    assert result.merged is not None
    assert [row["page_last"] for row in result.merged.to_pylist()] == [3]
    assert result.failures["reason"].to_pylist() == ["empty_file"]
    assert sorted(result.documents["status"].to_pylist()) == ["complete", "failed"]
    assert result.record["counts"]["answered"] == 2
    frame = result.to_pandas()
    assert frame["answer.total"].tolist() == [Decimal("12.50")] * 2
    assert frame.columns.get_loc("answer.total") == result.answers.schema.get_field_index("answer")
    assert "2 documents: 1 complete, 0 partial, 1 failed" in repr(result)
    assert "2 of 2 documents" in capfd.readouterr().err

    both = extract(["in"], question="Total?", target=[Slim], output="both", model=model)
    assert sorted(name.split("-")[0] for name in both.names) == [
        "answers/Slim",
        "answers/text",
        "documents",
        "failures",
        "merged/Slim",
    ]
    with pytest.raises(ValueError, match=r"asked several things, .* take table\(name\) of answers/text, ans"):
        _ = both.answers
    assert both.table("answers/text").num_rows == 3
    assert both.merged is not None
    with pytest.raises(ValueError, match="has no table 'answers'; it has answers/text"):
        both.table("answers")
    assert extract("in", question="Total?", output="text", model=model).merged is None


@pytest.mark.soak
@pytest.mark.processes
def test_a_program_in_another_folder_has_a_ray_of_its_own_for_the_run(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.pdf").write_bytes(pdf_bytes([(200, 200)]))
    model = save_parrot(tmp_path / "parrot", "Forty-two")
    program = tmp_path / "program.py"
    program.write_text((ROOT / "tests" / "jobs" / "elsewhere.py").read_text())
    done = subprocess.run(
        [sys.executable, program.name, str(ROOT), str(model)],
        cwd=tmp_path,
        env=without_ray(),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert (done.returncode, done.stdout) == (0, "['Forty-two']\n"), done.stderr
    assert "1 documents, 1 question, on a private Ray on this machine" in done.stderr


def test_pandas_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.run.result import Result

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"pandas is not installed. .* install '\.\[test\]'"):
        Result("out", {"tables": {}}).to_pandas()


def test_the_config_is_that_of_the_flags(tmp_path: Path) -> None:
    parser = make_parser()
    words = arguments_of(parser, {"input": "in", "output": "out", "question": "Total?", "pages": "2-3"})
    config = config_of(parser.parse_args(words))
    assert (config.inputs, config.pages, config.questions[0].text) == (("in",), (2, 3), "Total?")
    assert os.environ.get("PYTHONPATH") is None or "quire" not in os.environ["PYTHONPATH"]
