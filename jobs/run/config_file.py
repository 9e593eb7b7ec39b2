"""A job's flags in a YAML file: `--config run.yaml`, and the file that `--print-config` prints.

In: the file, and the parser of the job. Out: the words of a command line, which that parser checks as it
checks all others. A scalar is the text that stands there, so that `pages: 3` and `--pages 3` are the same;
only true, false and null mean more. `${NAME}` is replaced from the environment, and `$$` is a dollar sign.
"""

import argparse
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from jobs.run.keywords import arguments_of
from jobs.run.terminal import shown
from pipeline.ingest.object_uris import is_private

# What a printed file leaves out, unless the environment holds it: passwords, keys, and webhooks, whose
# addresses are as good as a key; and of places, those with credentials.
SECRET: Final = frozenset({"password", "api-key", "notify"})
PLACES: Final = frozenset({"input", "output", "allow-root", "judge"})
OWN: Final = ("help", "config", "print-config")  # that no file has
_NAMES: Final = re.compile(r"\$\$|\$\{([A-Za-z_]\w*)\}|\$\{", re.ASCII)

Settings = Mapping[str, Any]  # by flag, without its dashes: texts, true, false, null, or lists of texts


class ConfigFileError(ValueError):
    """The file has a mistake. One sentence, which names it."""


def read_settings(path: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """What the file says, as it stands there. Raises ConfigFileError."""
    import yaml  # only here, so that other commands start without it

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigFileError(f"--config {path} cannot be read: {why}") from error
    try:
        loaded = yaml.load(text, _loader())
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or "it cannot be parsed"
        raise ConfigFileError(f"--config {path} is no YAML{where}: {why}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigFileError(f"--config {path}: give each flag on a line of its own, such as max-pages: 2")
    known = flags_of(parser)
    settings: dict[str, Any] = {}
    for key, value in loaded.items():
        name = str(key).replace("_", "-")
        if name not in known:
            raise ConfigFileError(f"--config {path}: {_unknown(str(key), known)}")
        if name in settings:
            raise ConfigFileError(f"--config {path} says {name} twice: leave one out")
        many = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in many) and not isinstance(value, bool | None):
            # Without what it is: a password may look like another thing. A list may hold itself, or millions.
            raise ConfigFileError(
                f"--config {path}: {name} has to be text or a list of texts: put it into quotes"
            )
        settings[name] = value
    return settings


def flags_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The flags that a file may have, without their dashes, in the order of --help."""
    flags = (action for action in parser._actions if action.option_strings)
    named = {_name(action): action for action in flags}
    return {name: action for name, action in named.items() if name not in OWN}


def _name(action: argparse.Action) -> str:
    return next(text[2:] for text in action.option_strings if text.startswith("--"))


def words_of(settings: Settings, path: Path, parser: argparse.ArgumentParser) -> list[str]:
    """The settings as words of a command line. Raises ConfigFileError, also for a name that is not set."""
    replaced = {name: _replaced(value, name, path) for name, value in settings.items()}
    flags = flags_of(parser)
    for name, value in replaced.items():
        if flags[name].nargs == 0 and not isinstance(value, bool | None):
            raise ConfigFileError(f"--config {path}: {name} is true or false, and {value!r} was given")
    try:
        return arguments_of(parser, replaced)
    except ValueError as error:
        raise ConfigFileError(f"--config {path}: {error}") from error


def config_text(parser: argparse.ArgumentParser, given: argparse.Namespace, settings: Settings) -> str:
    """All settings of a run as a file that says the same; `settings` are those that a file's words stand for.

    A secret stays out, or is the `${NAME}` that it was.
    """
    lines = []
    for name, action in flags_of(parser).items():
        value = settings[name] if name in settings else _plain(getattr(given, action.dest))
        if _is_secret(name, value) and not _is_of_environment(value):
            lines.append(f"# {name}: given, and not printed\n")
        else:
            lines.append(_dumped(name, value))
    return "".join(lines)


def _dumped(name: str, value: Any) -> str:
    """A line of YAML that a terminal shows as it is."""
    import yaml

    def dump(allow_unicode: bool) -> str:
        dumper = _kind(yaml.SafeDumper)
        return str(yaml.dump({name: value}, Dumper=dumper, allow_unicode=allow_unicode, width=1000))

    text = dump(True)
    return text if shown(text) == text else dump(False)


def _plain(value: Any) -> Any:
    """A flag's value as YAML has it, in which no dollar sign means anything."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool):
        return value
    text = str(value)
    return text.replace("$", "$$") if "${" in text or "$$" in text else text


def _is_secret(name: str, value: Any) -> bool:
    many = value if isinstance(value, list) else [value]
    is_place = name in PLACES and any(isinstance(one, str) and is_private(one) for one in many)
    return is_place or (name in SECRET and bool(value))


def _is_of_environment(value: Any) -> bool:
    """Whether a secret is names alone."""
    many = value if isinstance(value, list) else [value]
    return all(
        isinstance(one, str) and not _NAMES.sub(lambda found: "" if found[1] else "$", one).strip()
        for one in many
    )


def _replaced(value: Any, name: str, path: Path) -> Any:
    if isinstance(value, list):
        return [_replaced(one, name, path) for one in value]
    if not isinstance(value, str):
        return value

    def of(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        if found[1] is None:  # ${NAME:-this} of a shell would be the name of a folder
            raise ConfigFileError(
                f"--config {path}: {name} has a ${{ without a name and a brace behind it, as in ${{NAME}}: "
                "write $$ for a dollar sign"
            )
        if found[1] not in os.environ:
            raise ConfigFileError(
                f"--config {path}: {name} wants ${{{found[1]}}}, which the environment does not have: set "
                "it, or write $$ for a dollar sign"
            )
        return os.environ[found[1]]

    return _NAMES.sub(of, value)


def _unknown(key: str, known: Mapping[str, object]) -> str:
    name = key.replace("_", "-")
    if name in OWN:
        return f"{key} is for the command line alone: leave it out"
    near = get_close_matches(name.removeprefix("--"), known, n=1, cutoff=0)
    return f"there is no flag {key!r}; the nearest is {near[0]}"


def _loader() -> Any:
    """YAML whose scalars are texts, but for true, false and null; a key that comes twice is a mistake."""
    import yaml

    class Loader(_kind(yaml.SafeLoader)):  # type: ignore[misc] # the class is made when it is needed
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [one.value for one, _ in node.value]
            twice = next((key for key in keys if isinstance(key, str) and keys.count(key) > 1), None)
            if twice is not None:
                raise yaml.constructor.ConstructorError(None, None, f"{twice} comes twice", node.start_mark)
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    return Loader


def _kind(base: Any) -> Any:
    """A loader or a dumper to which 3 and 2026-01-31 are texts like others."""
    made: Any = type("Texts", (base,), {"yaml_implicit_resolvers": {}})
    words = {"bool": ["true", "True", "TRUE", "false", "False", "FALSE"], "null": ["null", "Null", "~", ""]}
    for tag, texts in words.items():
        pattern = re.compile("^(?:" + "|".join(map(re.escape, texts)) + ")$")
        made.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", pattern, sorted({text[:1] for text in texts}))
    return made
