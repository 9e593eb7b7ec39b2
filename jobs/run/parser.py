"""The command line of a job, whose flags may stand in a file, too."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from jobs.run.terminal import say, write_json


class Parser(argparse.ArgumentParser):
    """argparse, in which a mistake is a ValueError of one sentence, and no flag may be cut short."""

    def __init__(self, job: str, **texts: Any) -> None:
        """`texts` are argparse's: description and epilog, whose lines stay as they are, and usage."""
        super().__init__(
            prog=f"python -m jobs.{job}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **texts,
        )
        self._takes_file = False

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} ({self.prog} --help explains)")

    def take_config_file(self) -> None:
        """Adds --config and --print-config: all flags may stand in a file."""
        self._takes_file = True
        add = self.add_argument_group("these flags in a file").add_argument
        add(
            "--config",
            action="append",
            metavar="FILE",
            help="YAML with flags, such as max-pages: 2, or question: [What is the total?]; ${NAME} is "
            "replaced from the environment, and flags of the command line replace those of the file. Of "
            "several files, one behind replaces the flags of those before it",
        )
        add(
            "--print-config",
            action="store_true",
            help="print all settings as such a file, without passwords and keys, and end",
        )

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """As argparse's; with `take_config_file`, a file's flags are among them, and neither of its own.

        Raises ValueError. Ends the process where --help or --print-config was asked for.
        """
        words = list(sys.argv[1:] if args is None else args)
        # Before the first mistake is said: `rules_of` does so for one that stands in a file.
        write_json("--log-json" in words and "--log-json" in self._option_string_actions)
        if not self._takes_file:
            return super().parse_args(words, namespace)
        settings, more = self._of_files(words)
        given = super().parse_args([*more, *words], namespace)
        if given.print_config:
            from jobs.run.config_file import config_text

            say(config_text(self, given, settings), sys.stdout, end="")
            self.exit()
        del given.config, given.print_config
        return given

    def _of_files(self, words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """What files say that the command line does not say otherwise, as it stands there and in words.

        Of two files that say the same, the one behind wins.
        """
        look = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        look.add_argument("--config", action="append", nargs="?")
        names = look.parse_known_args(words)[0].config or []
        if None in names or not names:
            return {}, []  # not given, or without a value, which the parser says
        from jobs.run.config_file import ConfigFileError, read_settings, words_of

        flags = self._option_string_actions
        given = {flags[flag].dest for word in words if (flag := word.partition("=")[0]) in flags}
        given |= self._given_places(words)
        settings: dict[str, Any] = {}
        more: list[str] = []
        for name in reversed(names):
            path = Path(name).expanduser()
            found = read_settings(path, self)
            left = {key: value for key, value in found.items() if flags[f"--{key}"].dest not in given}
            some = words_of(left, path, self)
            self._check_alone(some, f"--config {path}", ConfigFileError)
            given |= {flags[f"--{key}"].dest for key in left}
            settings |= left
            more += some
        return settings, more

    def _given_places(self, words: Sequence[str]) -> set[str]:
        """What stands among the words without a flag, such as MODEL, by the names that the values have."""
        names = {action.dest for action in self._actions if not action.option_strings}
        nothing = object()
        found = argparse.Namespace(**dict.fromkeys(names, nothing))
        with self._nothing_required():
            self.parse_known_args(list(words), found)
        return {name for name in names if getattr(found, name) is not nothing}

    def _check_alone(self, words: list[str], where: str, mistake: type[ValueError]) -> None:
        """Raises a mistake that says where it is, if the words are wrong by themselves."""
        try:
            with self._nothing_required():
                self.parse_known_args(words)
        except ValueError as error:
            raise mistake(f"{where}: {error}") from error

    @contextmanager
    def _nothing_required(self) -> Iterator[None]:
        needed = [action for action in self._actions if action.required]
        for action in needed:
            action.required = False
        try:
            yield
        finally:
            for action in needed:
                action.required = True
