"""Keyword arguments of Python in; the words of a command line, for the job's own parser, out.

The flags are the one source of what there is: an argument that no flag has becomes one all the same, and the
parser refuses it in its own words.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from numbers import Number

from pydantic import BaseModel

from schemas.local_class import text_of_class


def arguments_of(parser: argparse.ArgumentParser, keywords: Mapping[str, object]) -> list[str]:
    """Each keyword as its flag: max_pages=2 is --max-pages=2, True is the flag alone, and a list repeats it.

    None is left out. Raises ValueError, in one sentence.
    """
    actions = {flag: action for action in parser._actions for flag in action.option_strings}
    words: list[str] = []
    for name, value in keywords.items():
        flag = f"--{name.replace('_', '-')}"
        action = actions.get(flag)
        if isinstance(value, bool):
            words += _switch(flag, value, action)
        elif value is not None:
            many = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
            if len(many) != 1 and not isinstance(action, argparse._AppendAction | None):
                raise ValueError(f"{flag} takes one value, and {len(many)} were given")
            words += [f"{flag}={_text(flag, one)}" for one in many]
    return words


def _switch(flag: str, value: bool, action: argparse.Action | None) -> list[str]:
    if action is not None and action.nargs != 0:
        raise ValueError(f"{flag} takes a value, and {value} was given")
    if isinstance(action, argparse.BooleanOptionalAction):
        return [flag if value else flag.replace("--", "--no-", 1)]
    return [flag] if value or action is None else []


def _text(flag: str, value: object) -> str:
    if isinstance(value, type) and issubclass(value, BaseModel):
        return text_of_class(value)
    if isinstance(value, str | Number | os.PathLike):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    raise ValueError(f"{flag} {value!r}: give it text, a number or a path")
