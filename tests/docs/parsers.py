"""The words of a command in; nothing out if the program that they are for would take them.

A job parses them itself, and is ended before it begins its work. Of the programs that are not ours, only the
parts that the documentation uses are known here; others are refused.
"""

import argparse
import importlib
import re
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jobs.serving.requests import ChatRequest, parse
from tests.deploy import dockerfile
from tests.docs.markdown import ROOT

OURS = ("jobs.", "docs.", "tests.pipeline.kills")


class Parsed(Exception):
    """The parser took the words."""


def check(words: list[str], patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails if a command could not be meant."""
    program, arguments = words[0], words[1:]
    if program == "python":
        program, arguments = _program(arguments)
    if program.startswith(OURS):
        _check_job(program, arguments, patch, capsys)
    elif program == "ray":
        _check_submit(arguments, patch, capsys)
    elif program == "make":
        known = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert arguments, "make needs a target"
        assert set(arguments) <= set(known)
    elif program == "pytest":
        _check_pytest(arguments)
    elif program == "pip":
        _check_pip(arguments)
    elif program == "docker":
        _check_docker(arguments, patch, capsys)
    elif program == "curl":
        parse(body_of(arguments), ChatRequest)
    elif program == "lm_eval":
        _check_harness(arguments)
    elif program == "ruff":
        assert arguments[0] in ("format", "check"), words
    else:
        assert (Path(sys.executable).parent / program).exists(), f"nobody knows {words}"


def _program(arguments: list[str]) -> tuple[str, list[str]]:
    """What Python is to run: a module, or a script of the environment by its name."""
    if arguments[0] == "-m":
        return arguments[1], arguments[2:]
    assert arguments[0].startswith(".venv/bin/"), arguments
    return Path(arguments[0]).name, arguments[1:]


def _check_job(
    module: str, arguments: list[str], patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_and_end(parser: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> None:
        parse(parser, args, namespace)
        raise Parsed

    with patch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse_and_end)
        try:
            code = importlib.import_module(module).main(arguments)
        except Parsed:
            return
        except SystemExit as stopped:
            code = stopped.code  # --help, or a mistake that argparse itself has printed
    assert code == 0, f"python -m {module} {' '.join(arguments)}\n{capsys.readouterr().err}"


def _check_submit(
    arguments: list[str], patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray.dashboard.modules.job.cli import submit

    assert arguments[:2] == ["job", "submit"]
    context = submit.make_context("submit", arguments[2:])
    assert context.params["working_dir"] == "."
    check(list(context.params["entrypoint"]), patch, capsys)


def _check_docker(
    arguments: list[str], patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`build` of our Dockerfile with arguments that it has; `run` of a job in an image that a page builds."""
    command = arguments[0]
    running = {"-v", "-e", "-p", "--user", "--shm-size", "--gpus"}
    values = {"-f", "-t", "--build-arg"} if command == "build" else running
    switches = set() if command == "build" else {"--rm", "-it"}
    given: list[tuple[str, str]] = []
    rest = iter(arguments[1:])
    for word in rest:
        if word in values:
            given.append((word, next(rest)))
        elif word not in switches:
            assert not word.startswith("-"), f"docker {command} has no {word} here"
            break
    if command == "build":
        assert ("-f", "deploy/Dockerfile") in given
        assert (word, *rest) == (".",)
        for name in (value.partition("=")[0] for flag, value in given if flag == "--build-arg"):
            assert name in dockerfile.arguments(), name
        return
    assert command == "run", arguments
    assert word in ("quire", "quire:gpu"), word
    job, *flags = rest
    _check_job(f"jobs.{job}", flags, patch, capsys)


def body_of(arguments: list[str]) -> bytes:
    """What curl is to send to our server, as JSON."""
    given = dict(pairwise(arguments))
    assert "http://127.0.0.1:8000/v1/chat/completions" in arguments
    assert given["-H"] == "Content-Type: application/json"
    return given["-d"].encode()


def _check_harness(arguments: list[str]) -> None:
    """A task of this tree, asked of our server; tests/jobs/serving/test_harness.py runs the command."""
    assert arguments[0] == "run"
    given = dict(pairwise(arguments))
    assert given["--model"] == "local-chat-completions"
    assert "base_url=http://127.0.0.1:8000/v1/chat/completions," in given["--model_args"]
    assert (ROOT / given["--include_path"] / f"{given['--tasks']}.yaml").is_file()


def _check_pytest(arguments: list[str]) -> None:
    """Paths that are there, and markers that pyproject.toml lists."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    markers = {line.split(":")[0] for line in settings["markers"]}
    takes_value = {"-m", "-n", "--ignore", "--timeout", "--hypothesis-profile", "--dist"}
    previous = ""
    for word in arguments:
        if previous == "-m":
            named = set(re.findall(r"\w+", word)) - {"and", "or", "not"}
            assert named <= markers | {"hypothesis"}, word
        elif previous == "--ignore" or (previous not in takes_value and not word.startswith("-")):
            assert list(ROOT.glob(word.split("::")[0])), f"there is no {word}"
        previous = word


def _check_pip(arguments: list[str]) -> None:
    """`install '.[extra]'`, an extra of pyproject.toml."""
    assert arguments[0] == "install"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in arguments[1:]:
        named = re.fullmatch(r"\.\[(\w+)\]", word)
        assert named, f"not this tree: {word}"
        assert named[1] in extras
