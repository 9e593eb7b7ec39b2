"""`--config run.yaml`: its flags mean what they mean on a command line; so does a printed one."""

import argparse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from jobs import evaluate, extract, retry, serve
from jobs.run.config_file import flags_of

# Thirty lines that stand for a thousand million texts.
BOMB = "".join(f"- &a{number} [*a{number - 1}, *a{number - 1}]\n" for number in range(1, 31))
NEEDED = ["--input", "in", "--output", "out"]


def parsed(*words: str) -> dict[str, Any]:
    return dict(vars(extract.make_parser().parse_args(words)))


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str) -> str:
        (tmp_path / "run.yaml").write_text(text)
        return f"--config={tmp_path / 'run.yaml'}"

    return write


def test_a_file_says_what_the_flags_say(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "s3://scans")
    config = written(
        """\
input: ["${BUCKET}/2026", more]
output: ${BUCKET}/out
question:
  - What is $$5, or ${BUCKET}?
  - "no"
max_pages: 2            # as in Python
pages: 2-5
seed: 010
temperature: 1e-1
keep-headers: true
merge: false
system: null
"""
    )
    words = "--input s3://scans/2026 more --output s3://scans/out --max-pages 2 --pages 2-5 --seed 010"
    flags = [*words.split(), "--temperature", "1e-1", "--keep-headers", "--no-merge"]
    asked = ["--question", "What is $5, or s3://scans?", "--question", "no"]
    assert parsed(config) == parsed(*flags, *asked)


def test_flags_of_the_command_line_win(written: Any) -> None:
    config = written("input: [a, b]\noutput: out\nmax-pages: 2\nquestion: ['Who?', 'When?']\nmerge: true")
    found = parsed("--max-pages", "7", config, "--question=Why?", "--no-merge")
    assert (found["max_pages"], found["texts"], found["merge"]) == (7, ["Why?"], False)
    assert (found["inputs"], found["output"]) == (["a", "b"], "out")
    assert parsed(written("system: ${NOT_SET_HERE}\noutput: out"), "--system", "Be brief.", "--input", "in")


def test_of_several_files_one_behind_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, night = tmp_path / "base.yaml", tmp_path / "night.yaml"
    base.write_text("input: in\nmax-pages: 2\nquestion: ['Who?', 'When?']\nseed: 1\nmerge: true")
    night.write_text("max-pages: 3\nquestion: ['Why?']\noutput: out\nmerge: false")
    files = [f"--config={base}", "--config", str(night)]
    found = parsed(*files, "--seed", "9")
    assert (found["inputs"], found["output"], found["max_pages"]) == (["in"], "out", 3)
    assert (found["texts"], found["merge"], found["seed"]) == (["Why?"], False, 9)
    with pytest.raises(SystemExit):
        extract.main([*files, "--print-config"])
    text = capsys.readouterr().out
    assert "max-pages: 3\n" in text
    assert "- Who?" not in text
    night.write_text("max-pages: three")
    assert extract.main([*files, "--output", "out"]) == 2
    assert f"--config {night}: argument --max-pages" in capsys.readouterr().err


def test_a_model_of_the_command_line_wins_in_either_form(written: Any) -> None:
    config = written("model: a/b\nport: 80")
    for words in (["c/d"], ["--model", "c/d"], ["--model=c/d"]):
        for all_words in ([*words, config], [config, *words]):
            found = serve.make_parser().parse_args(all_words)
            assert (found.model, found.port) == ("c/d", 80)
    assert serve.make_parser().parse_args([config]).model == "a/b"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("max-page: 2", "there is no flag 'max-page'; the nearest is max-pages"),
        ("questoins: q.txt", "there is no flag 'questoins'; the nearest is questions"),
        ("max-pages: two", "--max-pages: invalid int value: 'two'"),
        ("max-pages: [1, 2]", "--max-pages takes one value, and 2 were given"),
        ("keep-headers: yes", "keep-headers is true or false, and 'yes' was given"),
        ("max-pages: true", "--max-pages takes a value, and True was given"),
        ("scope: book", "invalid choice: 'book'"),
        ("seed: {a: 1}", "seed has to be text or a list of texts: put it into quotes"),
        ("password: {hunter2}", "password has to be text or a list of texts: put it into quotes"),
        ("question: [true]", "question has to be text or a list of texts"),
        ("question: &all [*all]", "question has to be text or a list of texts"),
        (f"question:\n- &a0 [x]\n{BOMB}", "question has to be text or a list of texts"),
        ("config: other.yaml", "config is for the command line alone"),
        ("system: ${NOT_SET_HERE}", "system wants ${NOT_SET_HERE}, which the environment does not have"),
        ("model: ${BUCKET:-s3://b}/model", "model has a ${ without a name and a brace behind it"),
        ("system: ${NOT_SET_HERE", "system has a ${ without a name"),
        ("- question", "give each flag on a line of its own"),
        ("seed: 1\nseed: 2", "line 1: seed comes twice"),
        ("max-pages: 1\nmax_pages: 2", "says max-pages twice"),
        ("seed: [", "is no YAML, line 1"),
        ("seed: !!python/object:os.system 1", "could not determine a constructor"),
        ("\x00", "is no YAML"),
    ],
)
def test_a_mistake_in_a_file_is_a_sentence(
    written: Any, text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract.main([*NEEDED, "--question", "Who?", written(text)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "run.yaml" in said
    assert "hunter2" not in said
    assert said.count("\n") == 1


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract.main([*NEEDED, "--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml cannot be read: No such file" in capsys.readouterr().err
    assert extract.main([*NEEDED, "--config"]) == 2
    assert "--config: expected one argument" in capsys.readouterr().err


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        extract.main([*words, "--print-config"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_a_printed_file_says_the_same_and_no_secret(
    written: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCAN_PASSWORD", "hunter2")
    monkeypatch.setenv("PLACE", "/mnt/of-the-environment")
    config = written(
        "input: ['${PLACE}/in']\noutput: ${PLACE}/out\nmax-pages: 3\nseed: 010\n"
        "password: ['${SCAN_PASSWORD}']"
    )
    flags = ["--question", "Is ${PLACE} $$?", "--question", "on", "--max-pages", "5", "--temperature", "0.5"]
    flags += ["--fail-above", "2.5%", "--max-hours", "7.5", "--replicas", "3"]
    text = printed(capsys, config, *flags)
    assert "hunter2" not in text
    assert "of-the-environment" not in text
    assert parsed(written(text)) == parsed(config, *flags)
    assert printed(capsys, written(text)) == text


def test_a_password_of_the_command_line_or_of_a_file_is_not_printed(
    written: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ("--password=hunter2", "password: [hunter2]"):
        text = printed(capsys, *NEEDED, given if given.startswith("--") else written(given))
        assert "hunter2" not in text
        assert "# password: given, and not printed" in text
        assert parsed(written(text))["passwords"] == []


@pytest.mark.parametrize(
    "place", ["s3://AKIA:hunter2@scans/in", "https://scans.blob.core.windows.net/in/a.pdf?sig=hunter2"]
)
def test_an_address_with_credentials_is_not_printed(
    place: str, written: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--input", "in", place, "--output", place], [written(f"input: {place}\noutput: {place}")]):
        text = printed(capsys, *words)
        assert "hunter2" not in text
        assert text.startswith("# input: given, and not printed\n")
        assert "# output: given, and not printed\n" in text


def test_a_printed_file_has_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    names = [line.partition(":")[0] for line in printed(capsys, *NEEDED).splitlines() if line[0].isalpha()]
    assert names == list(flags_of(extract.make_parser()))
    assert {"config", "print-config", "help"}.isdisjoint(names)


@examples(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))))
def test_any_text_survives_being_printed(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    from jobs.run.config_file import config_text

    parser = extract.make_parser()
    found = parser.parse_args([*NEEDED, *(f"--question={text}" for text in texts)])
    path = tmp_path_factory.getbasetemp() / "printed.yaml"
    path.write_text(config_text(parser, argparse.Namespace(**vars(found)), {}), encoding="utf-8")
    assert parsed(f"--config={path}") == vars(found)


def test_jobs_with_a_place_take_a_file_too(written: Any) -> None:
    found = retry.make_parser().parse_args(["out", written("cause: [timeout]\npage-timeout: 9")])
    assert (found.output, found.causes, found.page_timeout) == ("out", ["timeout"], 9)
    assert evaluate.make_parser().parse_args([written("limit: 3"), "docvqa"]).limit == 3
